"""Integers of JSON as they are. What is beyond 64 bits the fast parser makes a float of, which is another number.

Where numbers have bounds that is as good: they are refused for being too large. Where any number may be kept, `known`
refuses it, since what is stored, shown and compared must be what was sent.
"""

from __future__ import annotations

import json
import re
from typing import Any

import orjson
from pydantic_core import PydanticCustomError

# Shorter ones fit. A run of digits in a text costs a second look, no more.
_LONG = re.compile(rb"[0-9]{19}")
_LEAST, _MOST = -(2**63), 2**64 - 1


class Huge(float):
    """An integer beyond 64 bits, nearly."""


def loads(raw: bytes) -> Any:
    """Decodes JSON. Raises orjson.JSONDecodeError for what is none."""
    found = orjson.loads(raw)
    if not _LONG.search(raw):
        return found
    try:
        return json.loads(raw, parse_int=_whole)
    except RecursionError:  # so deep that whatever wants it refuses it
        return found


def known(value: Any) -> Any:
    """The value of a JSON number or of anything else. Raises PydanticCustomError for an integer beyond 64 bits."""
    if isinstance(value, Huge):
        raise PydanticCustomError("huge_integer", "integers beyond 64 bits cannot be kept")
    return value


def _whole(digits: str) -> int | Huge:
    value = int(digits) if len(digits) <= 20 else None
    return value if value is not None and _LEAST <= value <= _MOST else Huge(digits)
