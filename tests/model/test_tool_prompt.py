"""Prompted tools: the prompt and the schema, and parsing the answer's JSON for any division into pieces."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from itertools import count, pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.model.base import ChatRequest, ModelError, ModelEvent, ModelInfo, ModelStreamEnd, TextDelta, ToolCallDelta
from service.model.prompted_answer import MAX_HEAD, AnswerParser, ArgumentsParser
from service.model.router import Router
from service.model.tool_prompt import MAX_ROUNDS
from tests.model.conftest import open_test_model
from tests.scripted import ScriptedServer, cuts_off, says

SMALL = ModelInfo("small", 8192, "cl100k_base", 1.5, vision=False, tools="prompted")
PARAMETERS = {"type": "object", "properties": {"a": {"type": "integer"}}}
ADD = {"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": PARAMETERS}}
NOW = {"type": "function", "function": {"name": "now"}}
CODE = {"type": "function", "function": {"name": "code_interpreter", "parameters": PARAMETERS}}

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


@given(JSON, st.sampled_from([None, 1]), CUTS)
def test_an_answer_in_json(value: Any, indent: int | None, places: list[int]) -> None:
    text, calls = concatenate(parse_all(AnswerParser(new_ids()), json.dumps({"json": value}, indent=indent), places))
    assert (json.loads(text), calls) == (value, [])


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


@pytest.fixture
async def model(server: ScriptedServer) -> AsyncIterator[Router]:
    router = open_test_model(server.base_url, embedded=SMALL)
    yield router
    await router.close()


HI = {"role": "user", "content": "Hi"}


async def stream_events(model: Router, *tools: Any, messages: Any = (HI,), **more: Any) -> list[ModelEvent]:
    request = ChatRequest("m", messages, tools=tools, **more)
    return [event async for batch in model.stream(request) for event in batch]


async def test_text_streams_as_text(server: ScriptedServer, model: Router) -> None:
    server.script(says("", ['{"text":', ' "Hel', 'lo."}'], usage=False))
    events = await stream_events(model, ADD, NOW, tool_choice="auto")
    assert events == [TextDelta("Hel"), TextDelta("lo."), ModelStreamEnd("stop", None, "scripted")]
    sent = await server.next_request()
    assert not {"tools", "tool_choice"} & set(sent)
    text, calls = sent["response_format"]["json_schema"]["schema"]["anyOf"]
    assert text["properties"] == {"text": {"type": "string"}}
    names = [one["properties"]["name"]["const"] for one in calls["properties"]["calls"]["items"]["anyOf"]]
    assert names == ["add", "now"]
    system, user = sent["messages"]
    assert '{"name":"add","description":"Adds.","parameters":' in system["content"]
    assert user == HI


async def test_calls_stream_as_calls(server: ScriptedServer, model: Router) -> None:
    server.script(says("", ['{"calls": [{"name": "add", "arg', 'uments": {"a"', ": 1}}]}"], usage=False))
    events = await stream_events(model, ADD, tool_choice="auto")
    assert concatenate(events)[1][0][1:] == ["add", '{"a": 1}']
    assert len([event for event in events if isinstance(event, ToolCallDelta)]) > 2
    assert events[-1] == ModelStreamEnd("tool_calls", None, "scripted")


async def test_a_named_choice_consists_of_arguments(server: ScriptedServer, model: Router) -> None:
    server.script(says("", ['{"a"', ": 1}"], usage=False))
    choice = {"type": "function", "function": {"name": "code_interpreter"}}
    events = await stream_events(model, ADD, CODE, tool_choice=choice)
    assert [event.arguments for event in events if isinstance(event, ToolCallDelta)] == ["", '{"a"', ": 1}"]
    assert concatenate(events)[1][0][1] == "code_interpreter"
    assert (await server.next_request())["response_format"]["json_schema"]["schema"] == PARAMETERS


async def test_an_example_of_the_schema_is_in_the_prompt(server: ScriptedServer, model: Router) -> None:
    server.script(says("{}"))
    schema = {**PARAMETERS, "examples": [{"a": 1}, {"a": 2}]}
    tool = {"type": "function", "function": {"name": "add", "parameters": schema}}
    await stream_events(model, tool, tool_choice={"type": "function", "function": {"name": "add"}})
    assert (await server.next_request())["messages"][-1] == {"role": "system", "content": 'For example: {"a":1}'}


async def test_a_required_choice_admits_one_call_only(server: ScriptedServer, model: Router) -> None:
    server.script(says('{"calls": [{"name": "now", "arguments": {}}]}'))
    assert concatenate(await stream_events(model, ADD, NOW, tool_choice="required"))[1][0][1:] == ["now", "{}"]
    schema = (await server.next_request())["response_format"]["json_schema"]["schema"]
    assert list(schema["properties"]) == ["calls"]
    assert schema["properties"]["calls"]["maxItems"] == 1


async def test_the_run_format_is_the_format_of_the_answer(server: ScriptedServer, model: Router) -> None:
    server.script(says("", ['{"json": {"a": ', "1}}"], usage=False))
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": PARAMETERS}}
    assert concatenate(await stream_events(model, ADD, response_format=wanted)) == ('{"a": 1}', [])
    forms = (await server.next_request())["response_format"]["json_schema"]["schema"]["anyOf"]
    assert forms[0]["properties"] == {"json": PARAMETERS}


@pytest.mark.parametrize("more", [{"tools": []}, {"tools": [ADD], "tool_choice": "none"}])
async def test_without_tools_there_is_no_schema(server: ScriptedServer, model: Router, more: dict[str, Any]) -> None:
    server.script(says("text", usage=False))
    assert await stream_events(model, *more.pop("tools"), **more) == [
        TextDelta("text"),
        ModelStreamEnd("stop", None, "scripted"),
    ]
    assert "response_format" not in await server.next_request()


async def test_after_too_many_calls_the_model_must_answer(server: ScriptedServer, model: Router) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "add", "arguments": "{}"}}
    rounds = [{"role": "assistant", "tool_calls": [call]}, {"role": "tool", "tool_call_id": "c", "content": "0"}]
    for times, said, free in (
        (MAX_ROUNDS - 1, [], False),
        (MAX_ROUNDS, [], True),
        (MAX_ROUNDS, [HI], False),
    ):
        await stream_events(model, ADD, NOW, messages=[HI, *rounds * times, *said], tool_choice="auto")
        assert ("response_format" not in await server.next_request()) == free
    await stream_events(model, ADD, NOW, messages=[HI, *rounds * MAX_ROUNDS], tool_choice="required")
    assert "response_format" in await server.next_request()


async def test_the_history_is_text(server: ScriptedServer, model: Router) -> None:
    server.script(says("text"))
    function = {"name": "add", "arguments": '{"a": 1}'}
    calls = [{"id": id, "type": "function", "function": function} for id in ("call_1", "call_2")]
    history = [
        HI,
        {"role": "assistant", "content": "Let me see.", "tool_calls": calls},
        {"role": "tool", "tool_call_id": "call_1", "content": "2"},
        {"role": "tool", "tool_call_id": "call_2", "content": "3"},
        HI,
    ]
    await stream_events(model, messages=history)
    assert [(message["role"], message["content"]) for message in (await server.next_request())["messages"]] == [
        ("user", "Hi"),
        (
            "assistant",
            'Let me see.\n{"calls":[{"name":"add","arguments":{"a":1}},{"name":"add","arguments":{"a":1}}]}',
        ),
        ("user", "Output of add:\n2\n\nOutput of add:\n3"),
        ("user", "Hi"),
    ]


async def test_the_text_of_a_cut_off_answer_is_kept(server: ScriptedServer, model: Router) -> None:
    server.script(cuts_off('{"text": "Hel', usage=False))
    assert await stream_events(model, ADD) == [TextDelta("Hel"), ModelStreamEnd("length", None, "scripted")]


async def test_cut_off_calls_are_reported(server: ScriptedServer, model: Router) -> None:
    server.script(says('{"calls": [{"name": "add", "arguments": {"a"'))
    with pytest.raises(ModelError, match="did not hold its answer to the JSON schema"):
        await stream_events(model, ADD)
