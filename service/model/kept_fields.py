"""The fields of a reply that some servers want back with its tool calls. Pure.

Gemini signs its thoughts in the first of parallel calls and refuses later requests without the signature
(https://ai.google.dev/gemini-api/docs/thought-signatures); DeepSeek refuses those without the reasoning before a call
(https://api-docs.deepseek.com/guides/thinking_mode); OpenRouter and LiteLLM pass such facts through in fields of their
own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import StringIO
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
    """Collects the fields from the pieces of a reply, in a time that is linear in the length of the pieces.

    It holds at most about MAX_KEPT_BYTES of each field of the message, and of the fields of all calls together. A field
    of the message, or a call, that exceeds this loses all that it has.
    """

    def __init__(self) -> None:
        self._reasoning: _KeptText | None = _KeptText()
        self._objects: dict[str, _KeptObject | None] = {}
        self._lists: dict[str, _KeptList | None] = {}
        self._calls: dict[int, dict[str, _KeptObject] | None] = {}
        self._calls_size = 0

    def read_message(self, delta: Mapping[str, Any]) -> None:
        """Reads the fields of a message, or of a piece of one."""
        reasoning = next((delta[name] for name in _REASONING_NAMES if isinstance(delta.get(name), str)), "")
        if reasoning and self._reasoning is not None:
            self._reasoning.add(reasoning)
            if self._reasoning.size > MAX_KEPT_BYTES:
                self._reasoning = None
        for name in _MESSAGE_NAMES:
            value = delta.get(name)
            if isinstance(value, list) and value:
                items = self._lists.setdefault(name, _KeptList())
                if items is not None and not items.add(value, MAX_KEPT_BYTES):
                    self._lists[name] = None
            elif isinstance(value, dict) and value:
                fields = self._objects.setdefault(name, _KeptObject())
                if fields is not None and not fields.add(value, MAX_KEPT_BYTES):
                    self._objects[name] = None

    def read_call(self, index: int, piece: Mapping[str, Any]) -> None:
        """Reads the fields of a piece of the call at `index`."""
        for name in _CALL_NAMES:
            value = piece.get(name)
            if not isinstance(value, dict) or not value:
                continue
            fields = self._calls.setdefault(index, {})
            if fields is None:
                return
            kept = fields.setdefault(name, _KeptObject())
            before = kept.size
            others = self._calls_size - before
            if kept.add(value, MAX_KEPT_BYTES - others):
                self._calls_size = others + kept.size
            else:
                self._calls_size -= before + sum(each.size for each in fields.values() if each is not kept)
                self._calls[index] = None

    def end(self) -> tuple[Mapping[str, Any], Mapping[int, Mapping[str, Any]]]:
        """Returns the fields of the message, and those of calls by their indexes, within MAX_KEPT_BYTES."""
        room = MAX_KEPT_BYTES
        calls: dict[int, Mapping[str, Any]] = {}
        for index, kept in sorted(self._calls.items()):
            fields = {name: each.value for name, each in (kept or {}).items()}
            size = _stored_size(fields)
            if fields and size <= room:
                calls[index] = fields
                room -= size
        found: dict[str, Any] = {name: fields.value for name, fields in self._objects.items() if fields is not None}
        found |= {name: items.value for name, items in self._lists.items() if items is not None}
        if self._reasoning is not None and self._reasoning.size:
            found[REASONING_CONTENT] = self._reasoning.value
        message: dict[str, Any] = {}
        for name, value in found.items():
            size = _stored_size(value)
            if size <= room:
                message[name] = value
                room -= size
        return message, calls


class _KeptText:
    """A text that comes in pieces. `size` is its number of characters."""

    __slots__ = ("_pieces", "size")

    def __init__(self) -> None:
        self._pieces = StringIO()  # a list would hold an object for each piece
        self.size = 0

    @property
    def value(self) -> str:
        return self._pieces.getvalue()

    def add(self, piece: str) -> None:
        self.size += self._pieces.write(piece)


class _KeptObject:
    """An object that comes in pieces. A later value replaces the one of the same name.

    `size` is about the bytes of its JSON, `value` the object itself, which later pieces change in place.
    """

    __slots__ = ("size", "value")

    def __init__(self) -> None:
        self.size = 0
        self.value: dict[str, Any] = {}

    def add(self, piece: Mapping[str, Any], room: int) -> bool:
        """Adds a piece up to the first value with which the object exceeds `room`. Returns whether all of it fits."""
        for name, value in piece.items():
            self._add_value(name, value)
            if self.size > room:
                return False
        return True

    def _add_value(self, name: str, value: object) -> None:
        if name in self.value:
            self.size -= _field_size(name, self.value[name])
        self.size += _field_size(name, value)
        self.value[name] = value


class _KeptItem(_KeptObject):
    """An object of a list, which a server may divide over chunks. The texts of its pieces are joined."""

    __slots__ = ("_texts",)

    def __init__(self) -> None:
        super().__init__()
        self._texts: dict[str, _KeptText] = {}

    def join(self) -> dict[str, Any]:
        """Returns the object with whole texts."""
        return self.value | {name: text.value for name, text in self._texts.items()}

    def is_continued_by(self, item: Mapping[str, Any]) -> bool:
        """Whether an item is a further piece: it has the same place, and this object has no end yet."""
        if self.value.get("signature") or "data" in item:
            return False
        return all(item.get(name) is None or item[name] == self.value.get(name) for name in _PLACE_NAMES)

    def _add_value(self, name: str, value: object) -> None:
        known = self.value.get(name)
        if name in self.value and (value is None or name in _PLACE_NAMES):
            return
        if name not in _TEXT_NAMES or not isinstance(known, str) or not isinstance(value, str):
            self._texts.pop(name, None)
            super()._add_value(name, value)
            return
        text = self._texts.get(name)
        if text is None:
            text = self._texts[name] = _KeptText()
            text.add(known)
        text.add(value)
        self.size += _stored_size(value) - 2


class _KeptList:
    """A list that comes in pieces, and pieces of its items. `size` is about the bytes of its JSON."""

    __slots__ = ("_items", "size")

    def __init__(self) -> None:
        self.size = 2
        self._items: list[Any] = []

    @property
    def value(self) -> list[Any]:
        """The items, joined from their pieces."""
        return [item.join() if isinstance(item, _KeptItem) else item for item in self._items]

    def add(self, items: Sequence[Any], room: int) -> bool:
        """Adds items up to the first with which the list exceeds `room`. Returns whether all of them fit."""
        for item in items:
            if not isinstance(item, dict):
                self._items.append(item)
                self.size += _stored_size(item) + 1
            else:
                last = self._items[-1] if self._items else None
                if not isinstance(last, _KeptItem) or not last.is_continued_by(item):
                    last = _KeptItem()
                    self._items.append(last)
                    self.size += len("{},")
                before = last.size
                last.add(item, room - self.size + before)
                self.size += last.size - before
            if self.size > room:
                return False
        return True


def _field_size(name: str, value: object) -> int:
    """Returns about the bytes of a field of an object; more than fit if it cannot be stored."""
    return _stored_size({name: value})


def _stored_size(value: object) -> int:
    """Returns the bytes of a value's JSON; more than fit if it cannot be stored."""
    try:
        raw = orjson.dumps(value)
    except TypeError:  # a lone surrogate, or a number beyond 64 bits
        return MAX_KEPT_BYTES + 1
    return len(raw) if b"\\u0000" not in raw else MAX_KEPT_BYTES + 1
