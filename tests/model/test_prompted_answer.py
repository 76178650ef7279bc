"""The parsers of prompted answers: any division of the JSON into pieces gives the same events."""

from __future__ import annotations

import json
from itertools import count, pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.model.base import ModelError, ModelEvent, TextDelta, ToolCallDelta
from service.model.prompted_answer import MAX_HEAD, AnswerParser, ArgumentsParser

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
)
CALLS = st.lists(
    st.tuples(st.sampled_from(["add", 'na"me', "世界"]), st.dictionaries(TEXT, JSON, max_size=3)), min_size=1
)
CUTS = st.lists(st.integers(0, 10_000), max_size=12)


def pieces(text: str, places: list[int]) -> list[str]:
    bounds = sorted({0, len(text), *(place % (len(text) + 1) for place in places)})
    return [text[start:end] for start, end in pairwise(bounds)]


def new_ids() -> Any:
    numbers = count()
    return lambda: f"call_{next(numbers)}"


def parse_all(parser: AnswerParser | ArgumentsParser, text: str, places: list[int]) -> list[ModelEvent]:
    events = [event for piece in pieces(text, places) for event in parser.feed(piece)]
    return [*events, *parser.end()]


def concatenate(events: list[ModelEvent]) -> tuple[str, list[list[str]]]:
    """Returns the concatenated text, and the calls as [id, name, arguments]."""
    text, calls = "", list[list[str]]()
    for event in events:
        if isinstance(event, TextDelta):
            text += event.text
        elif isinstance(event, ToolCallDelta):
            if event.id is not None:
                calls.append([event.id, event.name or "", ""])
            assert event.index == len(calls) - 1
            calls[-1][2] += event.arguments
    return text, calls


@given(TEXT, st.booleans(), st.sampled_from([None, 1]), CUTS)
def test_an_answer_in_words(text: str, ascii_only: bool, indent: int | None, places: list[int]) -> None:
    written = json.dumps({"text": text}, ensure_ascii=ascii_only, indent=indent)
    assert concatenate(parse_all(AnswerParser(new_ids()), written, places)) == (text, [])


@pytest.mark.slow
@given(JSON, st.sampled_from([None, 1]), CUTS)
def test_an_answer_in_json(value: Any, indent: int | None, places: list[int]) -> None:
    text, calls = concatenate(parse_all(AnswerParser(new_ids()), json.dumps({"json": value}, indent=indent), places))
    assert (json.loads(text), calls) == (value, [])


@pytest.mark.slow
@given(CALLS, st.sampled_from([None, 1]), CUTS)
def test_calls(made: list[tuple[str, Any]], indent: int | None, places: list[int]) -> None:
    written = json.dumps({"calls": [{"name": name, "arguments": one} for name, one in made]}, indent=indent)
    parser = AnswerParser(new_ids())
    text, calls = concatenate(parse_all(parser, written, places))
    assert text == ""
    assert [(name, json.loads(arguments)) for _, name, arguments in calls] == made
    assert parser.call_count == len({id for id, _, _ in calls}) == len(made)


FORMS: dict[str, Any] = {
    "arguments as a string": lambda name, one: {"name": name, "arguments": json.dumps(one)},
    "arguments first": lambda name, one: {"arguments": one, "name": name},
    "arguments first, as a string": lambda name, one: {"arguments": json.dumps(one), "name": name},
    "more between": lambda name, one: {"name": name, "id": "x", "arguments": one},
    "below function": lambda name, one: {"type": "function", "function": {"name": name, "arguments": json.dumps(one)}},
}


@pytest.mark.slow
@given(st.sampled_from(list(FORMS)), CALLS, st.sampled_from([None, 1]), CUTS)
def test_calls_in_other_forms(form: str, made: list[tuple[str, Any]], indent: int | None, places: list[int]) -> None:
    written = json.dumps({"calls": [FORMS[form](name, one) for name, one in made]}, indent=indent)
    parser = AnswerParser(new_ids())
    text, calls = concatenate(parse_all(parser, written, places))
    assert (text, parser.call_count) == ("", len(made))
    assert [(name, json.loads(arguments)) for _, name, arguments in calls] == made


def test_a_call_without_arguments_has_none() -> None:
    written = '{"calls": [{"name": "now"}, {"name": "add", "arguments": {"a": 1}}]}'
    assert concatenate(parse_all(AnswerParser(new_ids()), written, [])) == (
        "",
        [["call_0", "now", "{}"], ["call_1", "add", '{"a": 1}']],
    )


@given(st.text() | st.text(st.sampled_from('{}[]":,\\textcalls nameargu ')), CUTS)
def test_the_division_into_pieces_has_no_effect(written: str, places: list[int]) -> None:
    """Any text results in events or a ModelError."""

    def outcome(cuts: list[int]) -> Any:
        try:
            return concatenate(parse_all(AnswerParser(new_ids()), written, cuts))
        except ModelError:
            return "refused"

    assert outcome(places) == outcome([])


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("Hello.", "Hello."),
        ('{"answer": 42}', '{"answer": 42}'),
        ("{", "{"),
        ('```json\n{"text": "Hi"}\n```', "Hi"),
        ('{"text": "cut o', "cut o"),
        ('{"text": 7}', "7"),
        ("{" + "x" * MAX_HEAD, "{" + "x" * MAX_HEAD),
    ],
)
def test_an_answer_of_another_form_is_text(written: str, text: str) -> None:
    assert concatenate(parse_all(AnswerParser(new_ids()), written, [])) == (text, [])


@pytest.mark.parametrize(
    "written",
    [
        '{"calls": [{"arguments": {"a": 1}}]}',
        '{"calls": [{"id": 1, "function": 2}]}',
        '{"calls": [{"id":',
        '{"calls": [',
        '{"calls": [{"name": "add", "arguments": {"a":',
        '{"calls": 7}',
    ],
)
def test_calls_that_break_off_are_an_error(written: str) -> None:
    with pytest.raises(ModelError, match="did not hold its answer to the JSON schema"):
        parse_all(AnswerParser(new_ids()), written, [])


@pytest.mark.slow
@given(st.dictionaries(TEXT, JSON), CUTS)
def test_arguments_alone(value: Any, places: list[int]) -> None:
    written = " " + json.dumps(value) + "\n"
    _, [(_, name, arguments)] = concatenate(parse_all(ArgumentsParser("add", new_ids()), written, places))
    assert (name, json.loads(arguments)) == ("add", value)


@given(CUTS)
def test_arguments_in_a_fence(places: list[int]) -> None:
    written = ' ```json\n{"a": 1}\n```\n'
    events = parse_all(ArgumentsParser("add", new_ids()), written, places)
    assert concatenate(events) == ("", [["call_0", "add", '{"a": 1}']])


def test_the_text_before_arguments_is_bounded() -> None:
    parser = ArgumentsParser("add", new_ids())
    assert [parser.feed("x") for _ in range(MAX_HEAD)] == [[]] * MAX_HEAD
    with pytest.raises(ModelError, match="did not hold its answer to the JSON schema"):
        parser.feed("x")


@pytest.mark.parametrize("written", ["no json", '{"a":', "[1]", "", "```json"])
def test_invalid_arguments_are_an_error(written: str) -> None:
    with pytest.raises(ModelError, match="did not hold its answer to the JSON schema"):
        parse_all(ArgumentsParser("add", new_ids()), written, [])


# Through the router, at a server.
