"""Clients get the text of a JSON object as arguments, whatever the model server wrote."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.runs.call_arguments import MAX_REPAIR, ArgumentPieces, object_text


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("", {}),
        ("  \n", {}),
        ("null", {}),
        ("[]", {}),
        ("5", {}),
        ("true", {}),
        ('"Paris"', {}),
        ("Paris", {}),
        ('"{\\"a\\": 1}"', {"a": 1}),
        ('[{"a": 1}]', {"a": 1}),
        ('```json\n{"a": 1}\n```', {"a": 1}),
        ('{}{"a": 1}', {"a": 1}),
        ('{"a": 1}{"a": 1}', {"a": 1}),
        ('{"a": 1} That is the call.', {"a": 1}),
        ('{"a": 1,}', {"a": 1}),
        ("{'a': True, 'b': None}", {"a": True, "b": None}),
        ('{"a": "line\nbreak"}', {"a": "line\nbreak"}),
        ('{"a": NaN}', {"a": None}),
        ('{"a": "b', {"a": "b"}),
        ('{"a": ["b", {"c": 1', {"a": ["b", {"c": 1}]}),
        ('{"a": 1, ', {"a": 1}),
        ('{"a": 1, "b', {"a": 1, "b": None}),
        ('{"a":', {"a": None}),
        ('{"a": tr', {"a": True}),
        ('{"a": "x\\', {"a": "x"}),
        ('{"a": "x\\u00', {"a": "x"}),
        ("{", {}),
        ("{" * 100_000, {}),
        ("[" * 100_000, {}),
        ("{" + "x" * MAX_REPAIR, {}),
    ],
)
def test_the_object_that_arguments_mean(written: str, meant: dict[str, Any]) -> None:
    assert json.loads(object_text(written)) == meant


@given(st.dictionaries(st.text(), st.recursive(st.none() | st.integers() | st.text(), st.lists)))
def test_law_an_object_stays_as_it_is_written(value: dict[str, Any]) -> None:
    for text in (json.dumps(value), json.dumps(value, indent=1, ensure_ascii=False)):
        assert object_text(text) == text


@given(st.text(st.sampled_from('{}[]":,\\ut1 a')))
def test_law_the_result_is_an_object_that_begins_as_watchers_saw_it(text: str) -> None:
    found = json.loads(object_text(text))
    assert isinstance(found, dict)
    shown = ArgumentPieces().feed(text)
    assert shown == "" or shown.startswith('{"') or shown.replace(" ", "").startswith('{"')


@given(st.dictionaries(st.text(min_size=1), st.text() | st.integers() | st.booleans()), st.integers(0, 200))
def test_law_an_object_that_was_cut_off_begins_as_it_was_written(value: dict[str, Any], length: int) -> None:
    text = json.dumps(value)
    cut = text[: length % (len(text) + 1)]
    found = object_text(cut)
    assert isinstance(json.loads(found), dict)
    assert found.startswith(cut.strip()) or cut.rstrip().endswith(",") or "\\" in cut


@pytest.mark.parametrize(
    "text", ['{"a":"line\nbreak"}', '{"a":"\\d+","b":[1]}', '{"a":"it\\\'s\t\x01"}', '{"a":"\\\\\n"}']
)
def test_watchers_see_the_same_object_if_a_string_is_not_valid(text: str) -> None:
    """Parsers of model servers pass on what the model wrote, such as a line break within a string."""
    pieces = ArgumentPieces()
    shown = "".join(pieces.feed(character) for character in text)
    assert shown == ArgumentPieces().feed(text) == object_text(text)
    assert isinstance(json.loads(shown), dict)
