"""Reads the JSON of one chunk of a stream: its text, its error. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import orjson

from service.model.base import ModelError
from service.model.errors import excerpt

# The keys of a chunk, its choice and its delta that say nothing but a piece of text. Nearly all chunks have no others.
_TEXT_CHUNK = frozenset(
    {"id", "object", "created", "model", "choices", "system_fingerprint", "service_tier", "obfuscation"}
)
_TEXT_CHOICE = frozenset({"index", "delta", "finish_reason", "logprobs"})
_TEXT_DELTA = frozenset({"role", "content"})


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
    """Returns the text of a content, which is a text, a part or a list of parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(text_of(part) for part in content)
    if isinstance(content, int | float):
        return str(content)
    return content.get("text") or "" if content.get("type", "text") == "text" else ""


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
