"""The text that Postgres gives a value of the type jsonb: rows that are folded in memory keep the text as written."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import orjson


def normalize(text: str) -> str:
    """Returns the JSON as jsonb holds it: keys by length and then by bytes, numbers without an exponent."""
    return _text_of(orjson.loads(text))


def _text_of(value: Any) -> str:
    match value:
        case dict():
            keys = sorted(value, key=lambda key: (len(key.encode()), key.encode()))
            return "{" + ", ".join(f"{_text_of(key)}: {_text_of(value[key])}" for key in keys) + "}"
        case list():
            return "[" + ", ".join(map(_text_of, value)) + "]"
        case float():
            return format(Decimal(repr(value)), "f")
        case _:
            return orjson.dumps(value).decode()
