"""The fields that go back with tool calls are bounded while they come, and pieces of them are added in place."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import pytest

from service.model.base import ModelStreamEnd
from service.model.kept_fields import MAX_KEPT_BYTES, KeptFields
from service.model.stream_parser import StreamParser

Read = Callable[[KeptFields, dict[str, Any]], None]
READERS: dict[str, Read] = {
    "fields of a call": lambda kept, piece: kept.read_call(0, {"extra_content": piece}),
    "other fields of a call": lambda kept, piece: kept.read_call(0, {"provider_specific_fields": piece}),
    "fields of the message": lambda kept, piece: kept.read_message({"extra_content": piece}),
    "items": lambda kept, piece: kept.read_message({"reasoning_details": [0, piece]}),
    "pieces of an item": lambda kept, piece: kept.read_message({"thinking_blocks": [piece]}),
}
readers = pytest.mark.parametrize("read", READERS.values(), ids=READERS)


class Value(dict[str, Any]):
    """An object whose existence can be observed. Its JSON has at least 2 bytes."""


@readers
@pytest.mark.parametrize("count", [1, 500], ids=["a key in each piece", "many keys in each piece"])
def test_what_is_held_is_bounded(read: Read, count: int) -> None:
    kept, references = KeptFields(), []
    most = 0
    for start in range(0, 24_000, count):
        piece = {f"key{number}": Value() for number in range(start, start + count)}
        references += [weakref.ref(value) for value in piece.values()]
        read(kept, piece)
        del piece
        if start % 4_000 == 0:
            most = max(most, sum(reference() is not None for reference in references))
    assert most <= MAX_KEPT_BYTES / len('"key1":{},')
    assert sum(reference() is not None for reference in references) == 0, "a field that is too large is not kept"
    assert kept.end() == ({}, {})


class ObservedPiece(dict[str, Any]):
    """A piece that counts the fields that are read."""

    count = 0

    def items(self) -> Any:
        for item in super().items():
            self.count += 1
            yield item


@readers
def test_a_large_piece_is_read_up_to_the_bound(read: Read) -> None:
    piece = ObservedPiece((f"key{number}", number) for number in range(100_000))
    kept = KeptFields()
    read(kept, piece)
    assert 0 < piece.count <= MAX_KEPT_BYTES / len('"key1":1,')
    piece.count = 0
    read(kept, piece)
    assert piece.count == 0, "the field is known to be too large"


def test_pieces_change_the_object_in_place() -> None:
    kept = KeptFields()
    kept.read_call(0, {"extra_content": {"a": 1}})
    kept.read_message({"extra_content": {"a": 1}})
    message, calls = kept.end()
    kept.read_call(0, {"extra_content": {"a": 2, "b": 3}})
    kept.read_message({"extra_content": {"a": 2, "b": 3}})
    assert calls[0]["extra_content"] == message["extra_content"] == {"a": 2, "b": 3}
    later_message, later_calls = kept.end()
    assert later_calls[0]["extra_content"] is calls[0]["extra_content"]
    assert later_message["extra_content"] is message["extra_content"]


def test_repeated_fields_take_their_place_once() -> None:
    """Some servers repeat all fields of a call in each of its pieces."""
    fields = {"extra_content": {"signature": "x" * (MAX_KEPT_BYTES // 4)}}
    details = {"type": "reasoning.text", "format": "x" * (MAX_KEPT_BYTES // 4)}
    kept = KeptFields()
    for _ in range(9):
        kept.read_call(0, fields)
        kept.read_call(1, fields)
        kept.read_message({"reasoning_details": [{**details, "text": "a"}]})
    assert kept.end() == ({"reasoning_details": [{**details, "text": "a" * 9}]}, {0: fields, 1: fields})


def test_a_call_that_does_not_fit_leaves_its_room_to_others() -> None:
    kept = KeptFields()
    part = {"a": "x" * (MAX_KEPT_BYTES * 2 // 3)}
    kept.read_call(0, {"extra_content": part, "provider_specific_fields": part})
    kept.read_call(0, {"extra_content": {"b": 1}})
    kept.read_call(1, {"extra_content": part})
    assert kept.end() == ({}, {1: {"extra_content": part}})


@pytest.mark.parametrize("depth", [300, 1000])
def test_a_deep_field_is_left_out(depth: int) -> None:
    value = '{"a":' * depth + "1" + "}" * depth
    call = '{"index":0,"id":"call_1","function":{"name":"f","arguments":"{}"},"extra_content":' + value + "}"
    delta = f'{{"tool_calls":[{call}],"extra_content":{value},"reasoning_details":[{value}]}}'
    data = f'{{"choices":[{{"index":0,"delta":{delta},"finish_reason":"tool_calls"}}]}}'
    parser = StreamParser(lambda: "call_1")
    events = parser.feed(f"data: {data}\n\n".encode()) + parser.end()
    assert parser.failure is None
    end = events[-1]
    assert isinstance(end, ModelStreamEnd)
    assert (end.message_fields, end.call_fields) == ({}, {})
