"""JSON in pieces: for every way to cut it, the joined pieces equal the whole."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.partial_json import CodeInput, RawValue, StringPieces, code_of

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"))
# Texts that are hard to cut are frequent here: quotes, backslashes, characters that JSON writes as two escapes.
HARD = st.lists(TEXT | st.sampled_from(['"', "\\", "\n", "🎉", "世", "\\u", "{", "}"])).map("".join)
OTHERS = st.dictionaries(
    TEXT.filter(lambda key: key != "code"),
    st.recursive(st.none() | st.booleans() | st.integers() | HARD, st.lists),
    max_size=3,
)


def cut(text: str, places: list[int]) -> list[str]:
    bounds = sorted({0, len(text), *(place % (len(text) + 1) for place in places)})
    return [text[start:end] for start, end in pairwise(bounds)] or [text]


CUTS = st.lists(st.integers(0, 10_000), max_size=12)


@pytest.mark.slow
@given(HARD, OTHERS, OTHERS, st.booleans(), st.sampled_from([None, 2]), CUTS)
def test_the_pieces_of_code_joined_are_the_code(
    code: str, before: dict[str, Any], after: dict[str, Any], ascii_only: bool, indent: int | None, places: list[int]
) -> None:
    written = json.dumps({**before, "code": code, **after}, ensure_ascii=ascii_only, indent=indent)
    reader = CodeInput()
    assert "".join(reader.feed(piece) for piece in cut(written, places)) == code


@given(st.text(), CUTS)
def test_anything_may_be_fed_and_cutting_means_nothing(written: str, places: list[int]) -> None:
    reader = CodeInput()
    assert "".join(reader.feed(piece) for piece in cut(written, places)) == code_of(written)


@given(st.text(st.sampled_from('{}[]":,\\ucode0dD8 ')), CUTS)
def test_broken_json_too(written: str, places: list[int]) -> None:
    reader = CodeInput()
    assert "".join(reader.feed(piece) for piece in cut('{"code":"' + written, places)) == code_of('{"code":"' + written)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ('{"code": "a\\u0000b"}', "a\ufffdb"),
        ('{"code": "\\ud83d"}', "\ufffd"),
        ('{"code": "\\ud83dx\\ude00"}', "\ufffdx\ufffd"),
        ('{"code": "\\ud83d\\ud83d\\ude00"}', "\ufffd😀"),
        ('{"code": "cut o', "cut o"),
        ('{"code": "x\\q', "x\\q"),
        ('{"code": "print(\\\'a\\\')"}', "print('a')"),
        ('{"code": "a\\d\\u12\\users\\x41\\\\d"}', "a\\d\\u12\\users\\x41\\d"),
        ('{"code": "\\ud83d\\u12"}', "\ufffd\\u12"),
        ('{"code": "x\\"}', 'x"}'),
        ('{"cod": "x"}', ""),
        ('{"code": 7}', ""),
        ("{}", ""),
        ("", ""),
        ("print(1)\nprint(2)", "print(1)\nprint(2)"),
        ("[1, 2]", "[1, 2]"),
    ],
)
def test_what_models_write(arguments: str, code: str) -> None:
    assert code_of(arguments) == code


@pytest.mark.parametrize(
    ("arguments", "cut"),
    [
        ('{"code": "print(1)\nimport os; os.remove(', True),
        ('{"code": "print("a")"}', True),
        ('{"code": "x\\', True),
        ('{"code": "x" ', False),
        ('{"code": "x" }', False),
        ('{"code": "x", "more": 1}', False),
        ('{"cod', False),
        ("print(1", False),
    ],
)
def test_code_of_which_the_end_is_missing(arguments: str, cut: bool) -> None:
    for pieces in ([arguments], list(arguments)):
        reader = CodeInput()
        for piece in pieces:
            reader.feed(piece)
        assert reader.cut == cut


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | HARD,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(HARD, inner, max_size=3),
)


@pytest.mark.slow
@given(VALUES, st.sampled_from(["", "}", ', "x"', "]", " ,"]), CUTS)
def test_a_value_ends_where_it_ends(value: Any, behind: str, places: list[int]) -> None:
    reader, taken, left = RawValue(), "", ""
    for piece in cut(json.dumps(value) + behind, places):
        if reader.done:
            left += piece
        else:
            text, rest = reader.feed(piece)
            taken, left = taken + text, left + rest
    assert (json.loads(taken), left) == (value, behind)
    assert reader.done or not behind


@given(HARD, CUTS)
def test_a_string_ends_where_it_ends(text: str, places: list[int]) -> None:
    reader, taken, left = StringPieces(), "", ""
    for piece in cut(json.dumps(text)[1:] + ' "more"', places):
        if reader.done:
            left += piece
        else:
            said, rest = reader.feed(piece)
            taken, left = taken + said, left + rest
    assert (taken, left, reader.done) == (text, ' "more"', True)
