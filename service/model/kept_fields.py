"""The fields of a reply that some servers want back with its tool calls. Pure.

Gemini signs its thoughts in the first of parallel calls and refuses later requests without the signature
(https://ai.google.dev/gemini-api/docs/thought-signatures); DeepSeek refuses those without the reasoning before a call
(https://api-docs.deepseek.com/guides/thinking_mode); OpenRouter and LiteLLM pass such facts through in fields of their
own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

# Bytes of JSON, for all fields of a reply together. A field that does not fit is not kept.
MAX_KEPT_BYTES = 256 * 1024
REASONING_CONTENT = "reasoning_content"
_REASONING_NAMES = (REASONING_CONTENT, "reasoning")
# Fields of a call, and fields of the message that are objects or lists.
_CALL_NAMES = ("extra_content", "provider_specific_fields")
_MESSAGE_NAMES = ("extra_content", "reasoning_details", "thinking_blocks")
# The texts in items of lists that a server divides over chunks.
_TEXT_NAMES = frozenset({"text", "thinking", "summary"})
_PLACE_NAMES = ("type", "index", "id", "format")


class KeptFields:
    """Collects the fields from the pieces of a reply. It keeps at most about MAX_KEPT_BYTES of each field."""

    def __init__(self) -> None:
        self._reasoning: list[str] = []
        self._objects: dict[str, dict[str, Any]] = {}
        self._items: dict[str, list[Any]] = {}
        self._calls: dict[int, dict[str, Any]] = {}
        self._lengths: dict[str, int] = {}

    def read_message(self, delta: Mapping[str, Any]) -> None:
        """Reads the fields of a message, or of a piece of one."""
        reasoning = next((delta[name] for name in _REASONING_NAMES if isinstance(delta.get(name), str)), "")
        if reasoning and self._has_room(REASONING_CONTENT, len(reasoning)):
            self._reasoning.append(reasoning)
        for name in _MESSAGE_NAMES:
            value = delta.get(name)
            if isinstance(value, list) and value:
                if self._has_room(name, sum(map(_text_length, value))):
                    self._items.setdefault(name, []).extend(value)
            elif isinstance(value, dict) and value and self._has_room(name, _text_length(value)):
                self._objects[name] = {**self._objects.get(name, {}), **value}

    def read_call(self, index: int, piece: Mapping[str, Any]) -> None:
        """Reads the fields of a piece of the call at `index`."""
        for name in _CALL_NAMES:
            value = piece.get(name)
            if isinstance(value, dict) and value:
                fields = self._calls.setdefault(index, {})
                fields[name] = {**fields.get(name, {}), **value}

    def end(self) -> tuple[Mapping[str, Any], Mapping[int, Mapping[str, Any]]]:
        """Returns the fields of the message, and those of calls by their indexes, within MAX_KEPT_BYTES."""
        room = MAX_KEPT_BYTES
        calls: dict[int, Mapping[str, Any]] = {}
        for index, fields in sorted(self._calls.items()):
            size = _stored_size(fields)
            if size <= room:
                calls[index] = fields
                room -= size
        found: dict[str, Any] = {**self._objects, **{name: _join_items(items) for name, items in self._items.items()}}
        if self._reasoning:
            found[REASONING_CONTENT] = "".join(self._reasoning)
        message: dict[str, Any] = {}
        for name, value in found.items():
            size = _stored_size(value)
            if size <= room and self._lengths[name] <= MAX_KEPT_BYTES:
                message[name] = value
                room -= size
        return message, calls

    def _has_room(self, name: str, length: int) -> bool:
        """Counts the length of another piece of a field. Returns whether the field is still short enough to be kept."""
        self._lengths[name] = self._lengths.get(name, 0) + length
        return self._lengths[name] <= MAX_KEPT_BYTES


def _text_length(item: object) -> int:
    """Returns the length of an item without its place, and at least 1."""
    if not isinstance(item, dict):
        return 1
    return 1 + sum(len(str(value)) for name, value in item.items() if name not in _PLACE_NAMES)


def _join_items(items: Sequence[Any]) -> list[Any]:
    """Returns the items of a list that came in pieces. The texts of the pieces of one item are joined."""
    groups: list[list[Any]] = []
    for item in items:
        if groups and _continues(groups[-1], item):
            groups[-1].append(item)
        else:
            groups.append([item])
    return [group[0] if len(group) == 1 else _join_pieces(group) for group in groups]


def _continues(group: Sequence[Any], item: object) -> bool:
    """Whether an item is a further piece of the group: it has the same place, and the group has no end yet."""
    first, last = group[0], group[-1]
    if not (isinstance(item, dict) and isinstance(last, dict)) or last.get("signature") or "data" in item:
        return False
    return all(item.get(name) is None or item[name] == first.get(name) for name in _PLACE_NAMES)


def _join_pieces(pieces: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    joined: dict[str, Any] = {}
    for piece in pieces:
        joined.update({name: value for name, value in piece.items() if value is not None or name not in joined})
    for name in _TEXT_NAMES & joined.keys():
        joined[name] = "".join(piece[name] for piece in pieces if isinstance(piece.get(name), str))
    return joined


def _stored_size(value: object) -> int:
    """Returns the bytes of a value's JSON; more than fit if it cannot be stored."""
    try:
        raw = orjson.dumps(value)
    except TypeError:  # a lone surrogate, or a number beyond 64 bits
        return MAX_KEPT_BYTES + 1
    return len(raw) if b"\\u0000" not in raw else MAX_KEPT_BYTES + 1
