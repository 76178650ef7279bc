"""Parses JSON without changing its integers. orjson turns integers beyond 64 bits into floats of another value.

Fields with an upper bound refuse such a number anyway. Fields for any number refuse it with `require_64_bits`, because
the number that is stored, shown and compared must be the number that was sent.
"""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import orjson
from pydantic_core import PydanticCustomError

from service.wire.json_steps import STEP, parse_in_steps

_LEAST, _MOST = -(2**63), 2**64 - 1


class HugeInteger(float):
    """The nearest float to an integer beyond 64 bits."""


def parse_json(raw: bytes, *, has_long_integers: bool) -> Any:
    """Decodes JSON; integers beyond 64 bits become HugeInteger.

    `has_long_integers`: there may be numbers of 19 digits or more (`service.wire.json_meter`). Raises
    json.JSONDecodeError for invalid JSON, and Rejection for a text that is too long (`service.wire.json_steps`).
    """
    parse = partial(_parse_at_once, has_long_integers=has_long_integers)
    return parse(raw) if len(raw) <= STEP else parse_in_steps(raw, parse)


def _parse_at_once(raw: bytes, *, has_long_integers: bool) -> Any:
    found = orjson.loads(raw)
    if not has_long_integers:
        return found
    try:
        return json.loads(raw, parse_int=_parse_integer)
    except RecursionError:  # nested deeper than any field allows, so validation refuses it
        return found


def require_64_bits(value: Any) -> Any:
    """Returns the value. Raises PydanticCustomError if it is an integer beyond 64 bits."""
    if isinstance(value, HugeInteger):
        raise PydanticCustomError("huge_integer", "integers beyond 64 bits cannot be kept")
    return value


def _parse_integer(digits: str) -> int | HugeInteger:
    value = int(digits) if len(digits) <= 20 else None
    return value if value is not None and _LEAST <= value <= _MOST else HugeInteger(digits)
