"""Reads the JSON of one chunk of a stream: its text, its error. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from service.model.base import ModelError
from service.model.errors import AnswerTooLarge, excerpt

# The keys of a chunk, its choice and its delta that say nothing but a piece of text. Nearly all chunks have no others.
_TEXT_CHUNK = frozenset(
    {"id", "object", "created", "model", "choices", "system_fingerprint", "service_tier", "obfuscation"}
)
_TEXT_CHOICE = frozenset({"index", "delta", "finish_reason", "logprobs"})
_TEXT_DELTA = frozenset({"role", "content"})
# Items of one list in a chunk: choices, pieces of calls, parts of a content. Longer lists would hold up all other work.
MAX_ITEMS = 10_000
MAX_CONTAINERS = 250_000  # brackets that open an object or a list in one chunk, outside strings
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)


def only_text(chunk: Mapping[str, Any]) -> str | None:
    """Returns the text of a chunk that says nothing else, None if it says more or is not a chunk of this shape."""
    choices = chunk.get("choices")
    if type(choices) is not list or len(choices) != 1 or not _has_only(chunk, _TEXT_CHUNK):
        return None
    (choice,) = choices
    if type(choice) is not dict or choice.get("index") or choice.get("finish_reason") is not None:
        return None
    delta = choice.get("delta")
    if type(delta) is not dict or not _has_only(delta, _TEXT_DELTA) or not _has_only(choice, _TEXT_CHOICE):
        return None
    content = delta.get("content")
    return content if type(content) is str else None


def _has_only(place: Mapping[str, Any], names: frozenset[str]) -> bool:
    """Returns whether all fields but those with these names are null."""
    return place.keys() <= names or all(place[name] is None for name in place.keys() - names)


def text_of(content: Any) -> str:
    """Returns the text of a content, which is a text, a part or a list of parts, nested to any depth.

    Raises ModelError if it has more than MAX_ITEMS parts.
    """
    if isinstance(content, str):
        return content
    texts: list[str] = []
    rest, count = [content], 0
    while rest:
        part = rest.pop()
        count += 1
        if isinstance(part, list):
            if count + len(rest) + len(part) > MAX_ITEMS + 1:
                raise ModelError("server_error", f"The model server sent a content of more than {MAX_ITEMS} parts.")
            rest += reversed(part)
        elif isinstance(part, str):
            texts.append(part)
        elif isinstance(part, int | float):
            texts.append(str(part))
        elif part.get("type", "text") == "text":
            texts.append(part.get("text") or "")
    return "".join(texts)


def items_of(value: Any) -> Sequence[Any]:
    """Returns the items of a list, which some servers write as its only item, or leave out.

    Raises ModelError if there are more than MAX_ITEMS.
    """
    items: Sequence[Any] = [value] if isinstance(value, dict) else value or ()
    if len(items) > MAX_ITEMS:
        raise ModelError("server_error", f"The model server sent a list of more than {MAX_ITEMS} items in a chunk.")
    return items


def error_in(chunk: Mapping[str, Any]) -> object:
    """Returns the error that a server sent as a chunk, or None."""
    if chunk.get("error"):
        error: object = chunk["error"]
        return error
    is_error = chunk.get("object") == "error" or (
        "choices" not in chunk and (chunk.get("detail") or (chunk.get("message") and chunk.get("code")))
    )
    return chunk if is_error else None


def parse_chunk(data: bytes) -> dict[str, Any]:
    """Returns a chunk, or another JSON object. Raises ModelError; AnswerTooLarge if it has too many containers."""
    if len(data) > MAX_CONTAINERS and _brackets(data) > MAX_CONTAINERS < _brackets(_STRING.sub(b"", data)):
        raise AnswerTooLarge(f"The model server sent a chunk of more than {MAX_CONTAINERS} nested objects and lists.")
    try:
        chunk = orjson.loads(data)
    except orjson.JSONDecodeError:
        try:  # the standard library accepts lone surrogates and NaN, which servers written in Python send
            chunk = json.loads(data.decode(errors="surrogateescape"), strict=False)
        except (ValueError, RecursionError):
            raise ModelError("server_error", f"The model server sent malformed JSON: {excerpt(data)}") from None
    if not isinstance(chunk, dict):
        raise ModelError("server_error", f"The model server sent a chunk that is no object: {excerpt(data)}")
    return chunk


def parse_error(data: bytes) -> object:
    try:
        body = parse_chunk(data)
    except ModelError:
        return data.decode(errors="replace")
    return body.get("error") or body


def _brackets(data: bytes) -> int:
    return data.count(b"{") + data.count(b"[")
