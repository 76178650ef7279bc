"""Refuses text that cannot be stored: Postgres takes no NUL, and UTF-8 has no lone surrogates."""

from __future__ import annotations

from typing import Any

from events.errors import Rejection
from service.wire.validation_errors import parameter_path

_Loc = tuple[int | str, ...]


def require_storable(body: Any) -> None:
    """Raises Rejection if a string of a JSON value, or a key, cannot be stored. The value may be of any depth."""
    left = [body]
    while left:
        value = left.pop()
        if isinstance(value, str):
            if not is_storable(value):
                raise _find_unstorable(body)
        elif isinstance(value, dict):
            left += value
            left += value.values()
        elif isinstance(value, list):
            left += value


def is_storable(text: str) -> bool:
    """Whether the text can be stored."""
    if "\x00" in text:
        return False
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def unstorable(param: str) -> Rejection:
    """Returns the error for a parameter that cannot be stored."""
    message = f"Invalid '{param}': NUL characters and lone surrogates are not allowed."
    return Rejection(message, param=param or None, code="invalid_value")


def _find_unstorable(body: Any) -> Rejection:
    """Returns the error for a text that cannot be stored. `require_storable` tracks no paths, so that it is fast."""
    left: list[tuple[_Loc, Any]] = [((), body)]
    while left:
        loc, value = left.pop()
        if isinstance(value, str) and not is_storable(value):
            break
        if isinstance(value, dict):
            if not all(is_storable(key) for key in value):
                break
            left += [((*loc, key), item) for key, item in value.items()]
        elif isinstance(value, list):
            left += [((*loc, index), item) for index, item in enumerate(value)]
    return unstorable(parameter_path(loc))
