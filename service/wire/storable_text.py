"""Text that can be kept: Postgres refuses NUL, and UTF-8 has no lone surrogates. From clients they are a 400."""

from __future__ import annotations

from typing import Any

from events.errors import Rejected
from service.wire.validation_errors import path

_Loc = tuple[int | str, ...]


def check(body: Any) -> None:
    """Raises Rejected where any string of a JSON value, keys too, cannot be kept. Depth does not matter."""
    left = [body]
    while left:
        value = left.pop()
        if isinstance(value, str):
            if not fit(value):
                raise _refused(body)
        elif isinstance(value, dict):
            left += value
            left += value.values()
        elif isinstance(value, list):
            left += value


def fit(text: str) -> bool:
    """Whether the text can be kept."""
    if "\x00" in text:
        return False
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def refusal(param: str) -> Rejected:
    message = f"Invalid '{param}': NUL characters and lone surrogates are not allowed."
    return Rejected(message, param=param or None, code="invalid_value")


def _refused(body: Any) -> Rejected:
    """Where the unfit string is. A second walk, which keeps places: the first has to be fast."""
    left: list[tuple[_Loc, Any]] = [((), body)]
    while left:
        loc, value = left.pop()
        if isinstance(value, str) and not fit(value):
            break
        if isinstance(value, dict):
            if not all(fit(key) for key in value):
                break
            left += [((*loc, key), item) for key, item in value.items()]
        elif isinstance(value, list):
            left += [((*loc, index), item) for index, item in enumerate(value)]
    return refusal(path(loc))
