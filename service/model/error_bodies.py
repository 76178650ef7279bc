"""Reads the texts and the places of fields in an upstream's error body, which has as many shapes as there are servers.

Copies of the request that some servers add to an error are left out, because they name every field.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from itertools import islice

from service.model.refusal_names import OPTIONAL_FIELDS

MAX_DEPTH = 8  # of an error body
MAX_NESTED = 200_000  # characters of a text that is searched for JSON
MAX_ITEMS = 200  # of a list or an object that are read
MAX_PLACE = 200  # characters of a place, and parts of one
MAX_PARTS = 2000  # of a body that are read, in all
TEXT_OF_PART = 1000  # characters of a text that count as one more part

_WORDS = (
    "message",
    "msg",
    "detail",
    "details",
    "error",
    "errors",
    "description",
    "reason",
    "type",
    "code",
    "title",
    "error_code",
    "metadata",  # OpenRouter's, with the provider's body in `raw`
    "raw",
    "upstream_error",
    "provider_error",
    "innererror",
    "cause",
    "fieldViolations",
)
# Other keys whose values may be about the error, such as Databricks' external_model_error.
_OTHER_WORDS = re.compile(r"error|message|detail|issue|violation|exception", re.IGNORECASE)
_CAPITAL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_COPIES = frozenset({"messages"})
_PLACES = ("param", "loc", "field", "path", "parameter", "property", "argument", "additionalProperty")
_HOLDERS = ("keys", "params")  # of places, in the errors of validators written in JavaScript
# The request in an error of pydantic that was written as Python's repr.
_INPUT = re.compile(r"""['"]input['"]: .*?(?=\{['"]type['"]|$)""", re.DOTALL)
_DECODER = json.JSONDecoder(strict=False)


class _Budget:
    """Bounds the work for one body, which a hostile server may make large: parts of it that are read."""

    def __init__(self) -> None:
        self._left = MAX_PARTS

    def take(self, text: str = "") -> bool:
        """Whether one more part may be read. A long text counts as many parts."""
        self._left -= 1 + len(text) // TEXT_OF_PART
        return self._left >= 0


def texts(body: object, depth: int = 0, budget: _Budget | None = None) -> Iterator[str]:
    """Yields the texts of an error body, as far as its budget reaches."""
    budget = budget or _Budget()
    if isinstance(body, str):
        body = body[:MAX_NESTED]
        if not budget.take(body):
            return
        nested = _nested_json(body)
        if nested is None:
            yield _INPUT.sub("", body)
        else:
            value, before, after = nested
            yield f"{before} {after}"
            yield from texts(value, depth + 1, budget)
    elif isinstance(body, Mapping) and depth < MAX_DEPTH:
        for key in _keys_of(body):
            if not budget.take():
                return
            yield from texts(body[key], depth + 1, budget)
    elif isinstance(body, list) and depth < MAX_DEPTH:
        for each in body[:MAX_ITEMS]:
            if not budget.take():
                return
            yield from texts(each, depth + 1, budget)


def _keys_of(body: Mapping[str, object]) -> list[str]:
    """Returns the keys whose values are about the error, the usual ones first."""
    others = (key for key in islice(body, MAX_ITEMS) if key not in _COPIES and key not in _WORDS)
    return [
        *(key for key in _WORDS if key in body),
        *(key for key in others if _OTHER_WORDS.search(key) or _is_complaint(key, body[key])),
    ]


def _field_name(key: str) -> str:
    """Returns the name of the field that a key means: frameworks of .NET write `$.top_p` and `TopP`."""
    return _CAPITAL.sub("_", key[:MAX_PLACE].removeprefix("$.").removeprefix("body.")).lower()


def _is_complaint(key: str, value: object) -> bool:
    """Whether the key is a field and the value sentences about it, as frameworks of forms write their errors."""
    sentences = value[:MAX_ITEMS] if isinstance(value, list) else [value]
    return _field_name(key) in OPTIONAL_FIELDS and all(isinstance(each, str) and " " in each for each in sentences)


def places(body: object, depth: int = 0, budget: _Budget | None = None) -> Iterator[str]:
    """Yields the places that an error body names, as dotted paths such as `tools.0.function.strict`."""
    budget = budget or _Budget()
    if isinstance(body, str):
        if len(body) <= MAX_NESTED and budget.take(body) and (nested := _nested_json(body)) is not None:
            yield from places(nested[0], depth + 1, budget)
    elif isinstance(body, Mapping) and depth < MAX_DEPTH:
        for key in _PLACES:
            place = body.get(key)
            if isinstance(place, list):
                parts = (part for part in place[:MAX_PLACE] if isinstance(part, str | int) and part != "body")
                yield ".".join(str(part) for part in parts)[:MAX_PLACE]
            elif isinstance(place, str):
                yield place.removeprefix("body.")[:MAX_PLACE]
        for key in _HOLDERS:
            held = body.get(key)
            if isinstance(held, list):
                yield from (each[:MAX_PLACE] for each in held[:MAX_ITEMS] if isinstance(each, str))
            yield from places(held if isinstance(held, Mapping) else None, depth + 1, budget)
        yield from (_field_name(key) for key, value in islice(body.items(), MAX_ITEMS) if _is_complaint(key, value))
        for key in _keys_of(body):
            if not budget.take():
                return
            yield from places(body[key], depth + 1, budget)
    elif isinstance(body, list) and depth < MAX_DEPTH:
        for each in body[:MAX_ITEMS]:
            if not budget.take():
                return
            yield from places(each, depth + 1, budget)


def _nested_json(text: str) -> tuple[object, str, str] | None:
    """Returns the JSON in an error's text, and the text before and after it, or None.

    Gateways quote the error of the server behind them, often with words around it.
    """
    start = min((at for at in (text.find("{"), text.find("[{")) if at >= 0), default=-1)
    if start < 0 or len(text) > MAX_NESTED:
        return None
    try:
        found, end = _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError):
        return None
    return found, text[:start], text[end:]
