"""The meter counts the tokens of JSON before it is parsed, and finds an object's fields, whatever the pieces are."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.wire.json_meter import MAX_FIELDS, FieldFinder, JsonMeter

TEXTS = st.text(st.sampled_from('ab"\\{}[]:, é\x01😀'), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)
CUTS = st.lists(st.integers(1, 30), max_size=30)


def pieces_of(raw: bytes, cuts: list[int]) -> list[bytes]:
    pieces = []
    for size in cuts:
        pieces.append(raw[:size])
        raw = raw[size:]
    return [*pieces, raw]


def count_values(value: Any) -> int:
    """Returns the values in a value, itself included, and the keys."""
    if isinstance(value, dict):
        return 1 + sum(1 + count_values(item) for item in value.values())
    return 1 + (sum(count_values(item) for item in value) if isinstance(value, list) else 0)


def has_long(value: Any) -> bool:
    if isinstance(value, dict):
        return any(has_long(item) for item in value.values())
    if isinstance(value, list):
        return any(has_long(item) for item in value)
    return type(value) is int and len(str(abs(value))) >= 19


@given(value=VALUES, cuts=CUTS, indent=st.sampled_from([None, 2]), escapes=st.booleans())
def test_tokens_bound_the_values(value: Any, cuts: list[int], indent: int | None, escapes: bool) -> None:
    raw = json.dumps(value, indent=indent, ensure_ascii=escapes).encode()
    meter = JsonMeter()
    for piece in pieces_of(raw, cuts):
        meter.feed(piece)
    # An empty container is one token and one value; each other container has one token less than its values.
    assert count_values(value) <= 2 * meter.tokens + 1
    assert meter.tokens <= 2 * count_values(value)
    assert meter.has_long_integers == has_long(value)
    assert not meter.is_in_string


@given(value=st.dictionaries(TEXTS, VALUES, max_size=6), cuts=CUTS, indent=st.sampled_from([None, 1]))
def test_the_fields_of_an_object_are_found(value: dict[str, Any], cuts: list[int], indent: int | None) -> None:
    raw = json.dumps(value, indent=indent).encode()
    finder = FieldFinder()
    for piece in pieces_of(raw, cuts):
        finder.feed(piece)
    finder.finish()
    found = [
        (
            orjson.loads(raw[field.key.start : field.key.end]),
            orjson.loads(raw[field.value.start : field.value.end]) if field.value else None,
        )
        for field in finder.fields
    ]
    assert found == [(key, item if isinstance(item, str) else None) for key, item in value.items()]
    assert (finder.is_complete, finder.opening) == (True, b"{")


def test_fields_of_the_same_name_are_all_found_and_their_number_is_bounded() -> None:
    finder = FieldFinder()
    finder.feed(b'{"a":1,"a":"x",' + b'"b":[{"a":"no"}],' * MAX_FIELDS + b'"a":"y"}')
    finder.finish()
    assert len(finder.fields) == MAX_FIELDS
    assert finder.has_more_fields


@pytest.mark.parametrize("raw", [b'{"a":"b', b'{"a":["b"}', b"[", b'{"a":"b\\"}'])
def test_an_unfinished_body_is_not_complete(raw: bytes) -> None:
    finder = FieldFinder()
    finder.feed(raw)
    assert not finder.is_complete
