"""Large JSON is parsed in steps: every step is short, and the value is the one that a parser in one step returns."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from events.errors import Rejection
from service.wire import json_steps
from service.wire.json_steps import MAX_KEY, MAX_LEVELS, MAX_LONG_LEVELS, MAX_LONG_TEXT, STEP, parse_in_steps
from tests.wire.test_json_meter import VALUES

# Bytes of a step in these tests. Keys are shorter.
SHORT_STEP = 160
KEYS = st.text(st.sampled_from('ab"\\{}:,é😀'), max_size=3)
TEXTS = st.text(st.sampled_from('ab"\\{}[]:, é\x01😀\U0001f600\ud7ff'), max_size=60)
LARGE = st.recursive(
    VALUES | TEXTS,
    lambda inner: st.lists(inner, max_size=12) | st.dictionaries(KEYS, inner, max_size=12),
    max_leaves=30,
)


@pytest.fixture(autouse=True, scope="module")
def short_steps() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_steps, "STEP", SHORT_STEP)
        patch.setattr(json_steps, "_PIECE", 7)
        yield


def parse_short(raw: bytes) -> Any:
    """Parses a part, which is hardly longer than a step."""
    assert len(raw) <= SHORT_STEP + len("{}")
    return orjson.loads(raw)


@given(value=LARGE, indent=st.sampled_from([None, 3]), escapes=st.booleans())
def test_the_value_is_that_of_one_step(value: Any, indent: int | None, escapes: bool) -> None:
    raw = json.dumps(value, indent=indent, ensure_ascii=escapes).encode()
    expected = orjson.loads(raw)
    found = parse_in_steps(raw, parse_short)
    assert found == expected
    assert json.dumps(found) == json.dumps(expected), "keys have the same order"


@given(
    value=LARGE,
    at=st.floats(0, 1),
    change=st.sampled_from(
        [b"", b",", b"]", b"[", b"}", b'"', b"\\", b" ", b"1", b":", b"\xff", b"\x80\x80\x80\x80\x80"]
    ),
    cut=st.integers(0, 2),
)
@example(value=[["x" * 200], 1], at=0.999, change=b",", cut=0)
@example(value=[["x" * 200], 1], at=1.0, change=b"]", cut=0)
def test_what_is_not_json_is_refused(value: Any, at: float, change: bytes, cut: int) -> None:
    """A text that was changed at one place is JSON in steps if it is JSON in one step."""
    raw = json.dumps(value).encode()
    place = int(at * len(raw))
    raw = raw[:place] + change + raw[place + cut :]
    try:
        expected = orjson.loads(raw)
    except orjson.JSONDecodeError:
        with pytest.raises(json.JSONDecodeError):
            parse_in_steps(raw, orjson.loads)
        return
    assert parse_in_steps(raw, orjson.loads) == expected


@pytest.mark.parametrize(
    "text", ["\\" * 400, '"' * 400, "😀" * 150, "\\😀" * 140, "\x01\\u" * 140, "é" * 299, "\\ud83d" * 90]
)
@pytest.mark.parametrize("shift", range(13))
def test_a_text_is_cut_between_characters(text: str, shift: int) -> None:
    value = "x" * shift + text
    for escapes in (True, False):
        assert parse_in_steps(json.dumps(value, ensure_ascii=escapes).encode(), parse_short) == value


def test_of_equal_keys_the_last_counts() -> None:
    raw = b'{"a":1,"b":"%b","a":"%b","b":2,"c":3}' % (b"x" * 200, b"y" * 200)
    assert list(parse_in_steps(raw, parse_short).items()) == [("a", "y" * 200), ("b", 2), ("c", 3)]


@pytest.mark.parametrize(
    "raw", [b"[" * 99 + b"]" * 99, b" " * 199 + b"1", b"[" + b" " * 199 + b"]", b'{"a":[ %b]}' % (b" " * 199)]
)
def test_space_counts_for_nothing(raw: bytes) -> None:
    assert parse_in_steps(raw, orjson.loads) == json.loads(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"1" * 200,
        b"[" * (MAX_LONG_LEVELS + 99) + b"]" * (MAX_LONG_LEVELS + 99),
        b"[" * (MAX_LEVELS + 1),
        b'{"%b":1}' % (b"k" * MAX_KEY),
        b'["' + b"\xff" * 200 + b'"]',
        b'["' + b"x" * 200,
        b'["' + b"\\" * 201 + b'"]',
    ],
)
def test_values_that_no_request_needs_are_refused(raw: bytes) -> None:
    with pytest.raises(json.JSONDecodeError):
        parse_in_steps(raw, orjson.loads)


def test_a_long_text_that_is_not_ascii_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """16 MB with one emoji would be a text of 64 MB of memory, which takes 90 ms to make."""
    monkeypatch.setattr(json_steps, "STEP", STEP)
    monkeypatch.setattr(json_steps, "_PIECE", STEP)
    ascii_text = b'"' + b"x" * (MAX_LONG_TEXT + 1) + b'"'
    assert len(parse_in_steps(ascii_text, orjson.loads)) == MAX_LONG_TEXT + 1
    with pytest.raises(Rejection, match=f"it has {MAX_LONG_TEXT + 1} characters"):
        parse_in_steps(b'"' + b"x" * MAX_LONG_TEXT + "😀".encode() + b'"', orjson.loads)
    assert parse_in_steps(b'"' + b"x" * (MAX_LONG_TEXT - 1) + "😀".encode() + b'"', orjson.loads)[-1] == "😀"
