"""Prompted tools: what the model is told and held to, and what its JSON means, however it is cut."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from itertools import count, pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.model.base import ChatRequest, Finished, ModelError, ModelEvent, ModelInfo, TextDelta, ToolCallDelta
from service.model.prompted_answer import MAX_HEAD, Answer, Arguments
from service.model.router import Router
from service.model.tool_prompt import MAX_ROUNDS
from tests.model.conftest import routed
from tests.scripted import ScriptedServer, cut, says

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


def minted() -> Any:
    numbers = count()
    return lambda: f"call_{next(numbers)}"


def read(reader: Answer | Arguments, text: str, places: list[int]) -> list[ModelEvent]:
    events = [event for piece in pieces(text, places) for event in reader.feed(piece)]
    return [*events, *reader.end()]


def summed(events: list[ModelEvent]) -> tuple[str, list[list[str]]]:
    """(text, calls as [id, name, arguments]) by concatenation."""
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
def test_words(text: str, ascii_only: bool, indent: int | None, places: list[int]) -> None:
    written = json.dumps({"text": text}, ensure_ascii=ascii_only, indent=indent)
    assert summed(read(Answer(minted()), written, places)) == (text, [])


@given(JSON, st.sampled_from([None, 1]), CUTS)
def test_an_answer_in_a_form(value: Any, indent: int | None, places: list[int]) -> None:
    text, calls = summed(read(Answer(minted()), json.dumps({"json": value}, indent=indent), places))
    assert (json.loads(text), calls) == (value, [])


@given(CALLS, st.sampled_from([None, 1]), CUTS)
def test_calls(made: list[tuple[str, Any]], indent: int | None, places: list[int]) -> None:
    written = json.dumps({"calls": [{"name": name, "arguments": one} for name, one in made]}, indent=indent)
    reader = Answer(minted())
    text, calls = summed(read(reader, written, places))
    assert text == ""
    assert [(name, json.loads(arguments)) for _, name, arguments in calls] == made
    assert reader.called == len({id for id, _, _ in calls}) == len(made)


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
    reader = Answer(minted())
    text, calls = summed(read(reader, written, places))
    assert (text, reader.called) == ("", len(made))
    assert [(name, json.loads(arguments)) for _, name, arguments in calls] == made


def test_a_call_without_arguments_has_none() -> None:
    written = '{"calls": [{"name": "now"}, {"name": "add", "arguments": {"a": 1}}]}'
    assert summed(read(Answer(minted()), written, [])) == ("", [["call_0", "now", "{}"], ["call_1", "add", '{"a": 1}']])


@given(st.text() | st.text(st.sampled_from('{}[]":,\\textcalls nameargu ')), CUTS)
def test_whatever_is_written_is_read_the_same_however_it_is_cut(written: str, places: list[int]) -> None:
    """And never anything but events or a ModelError."""

    def outcome(cuts: list[int]) -> Any:
        try:
            return summed(read(Answer(minted()), written, cuts))
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
def test_what_is_no_such_json_is_text(written: str, text: str) -> None:
    assert summed(read(Answer(minted()), written, [])) == (text, [])


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
        read(Answer(minted()), written, [])


@given(st.dictionaries(TEXT, JSON), CUTS)
def test_arguments_alone(value: Any, places: list[int]) -> None:
    _, [(_, name, arguments)] = summed(read(Arguments("add", minted()), " " + json.dumps(value) + "\n", places))
    assert (name, json.loads(arguments)) == ("add", value)


@given(CUTS)
def test_arguments_in_a_fence(places: list[int]) -> None:
    written = ' ```json\n{"a": 1}\n```\n'
    assert summed(read(Arguments("add", minted()), written, places)) == ("", [["call_0", "add", '{"a": 1}']])


def test_what_comes_before_arguments_is_bounded() -> None:
    reader = Arguments("add", minted())
    assert [reader.feed("x") for _ in range(MAX_HEAD)] == [[]] * MAX_HEAD
    with pytest.raises(ModelError, match="did not hold its answer to the JSON schema"):
        reader.feed("x")


@pytest.mark.parametrize("written", ["no json", '{"a":', "[1]", "", "```json"])
def test_arguments_that_are_none_are_an_error(written: str) -> None:
    with pytest.raises(ModelError, match="did not hold its answer to the JSON schema"):
        read(Arguments("add", minted()), written, [])


# Through the router, at a server.


@pytest.fixture
async def model(server: ScriptedServer) -> AsyncIterator[Router]:
    made = routed(server.base_url, served=SMALL)
    yield made
    await made.close()


HI = {"role": "user", "content": "Hi"}


async def asked(model: Router, *tools: Any, messages: Any = (HI,), **more: Any) -> list[ModelEvent]:
    request = ChatRequest("m", messages, tools=tools, **more)
    return [event async for batch in model.stream(request) for event in batch]


async def test_text_streams_as_text(server: ScriptedServer, model: Router) -> None:
    server.script(says("", ['{"text":', ' "Hel', 'lo."}'], usage=False))
    events = await asked(model, ADD, NOW, tool_choice="auto")
    assert events == [TextDelta("Hel"), TextDelta("lo."), Finished("stop", None, "scripted")]
    sent = await server.received()
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
    events = await asked(model, ADD, tool_choice="auto")
    assert summed(events)[1][0][1:] == ["add", '{"a": 1}']
    assert len([event for event in events if isinstance(event, ToolCallDelta)]) > 2
    assert events[-1] == Finished("tool_calls", None, "scripted")


async def test_a_named_choice_is_nothing_but_arguments(server: ScriptedServer, model: Router) -> None:
    server.script(says("", ['{"a"', ": 1}"], usage=False))
    choice = {"type": "function", "function": {"name": "code_interpreter"}}
    events = await asked(model, ADD, CODE, tool_choice=choice)
    assert [event.arguments for event in events if isinstance(event, ToolCallDelta)] == ["", '{"a"', ": 1}"]
    assert summed(events)[1][0][1] == "code_interpreter"
    assert (await server.received())["response_format"]["json_schema"]["schema"] == PARAMETERS


async def test_an_example_of_the_schemas_is_shown(server: ScriptedServer, model: Router) -> None:
    server.script(says("{}"))
    schema = {**PARAMETERS, "examples": [{"a": 1}, {"a": 2}]}
    tool = {"type": "function", "function": {"name": "add", "parameters": schema}}
    await asked(model, tool, tool_choice={"type": "function", "function": {"name": "add"}})
    assert (await server.received())["messages"][-1] == {"role": "system", "content": 'For example: {"a":1}'}


async def test_required_admits_calls_only_and_one_of_them(server: ScriptedServer, model: Router) -> None:
    server.script(says('{"calls": [{"name": "now", "arguments": {}}]}'))
    assert summed(await asked(model, ADD, NOW, tool_choice="required"))[1][0][1:] == ["now", "{}"]
    schema = (await server.received())["response_format"]["json_schema"]["schema"]
    assert list(schema["properties"]) == ["calls"]
    assert schema["properties"]["calls"]["maxItems"] == 1


async def test_the_runs_own_format_is_the_answers(server: ScriptedServer, model: Router) -> None:
    server.script(says("", ['{"json": {"a": ', "1}}"], usage=False))
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": PARAMETERS}}
    assert summed(await asked(model, ADD, response_format=wanted)) == ('{"a": 1}', [])
    forms = (await server.received())["response_format"]["json_schema"]["schema"]["anyOf"]
    assert forms[0]["properties"] == {"json": PARAMETERS}


@pytest.mark.parametrize("more", [{"tools": []}, {"tools": [ADD], "tool_choice": "none"}])
async def test_without_tools_the_answer_is_free(server: ScriptedServer, model: Router, more: dict[str, Any]) -> None:
    server.script(says("text", usage=False))
    assert await asked(model, *more.pop("tools"), **more) == [TextDelta("text"), Finished("stop", None, "scripted")]
    assert "response_format" not in await server.received()


async def test_who_goes_on_calling_must_answer_at_last(server: ScriptedServer, model: Router) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "add", "arguments": "{}"}}
    rounds = [{"role": "assistant", "tool_calls": [call]}, {"role": "tool", "tool_call_id": "c", "content": "0"}]
    for times, said, free in (
        (MAX_ROUNDS - 1, [], False),
        (MAX_ROUNDS, [], True),
        (MAX_ROUNDS, [HI], False),
    ):
        await asked(model, ADD, NOW, messages=[HI, *rounds * times, *said], tool_choice="auto")
        assert ("response_format" not in await server.received()) == free
    await asked(model, ADD, NOW, messages=[HI, *rounds * MAX_ROUNDS], tool_choice="required")
    assert "response_format" in await server.received()


async def test_history_stands_as_text(server: ScriptedServer, model: Router) -> None:
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
    await asked(model, messages=history)
    assert [(message["role"], message["content"]) for message in (await server.received())["messages"]] == [
        ("user", "Hi"),
        (
            "assistant",
            'Let me see.\n{"calls":[{"name":"add","arguments":{"a":1}},{"name":"add","arguments":{"a":1}}]}',
        ),
        ("user", "Output of add:\n2\n\nOutput of add:\n3"),
        ("user", "Hi"),
    ]


async def test_a_cut_answer_says_what_there_was(server: ScriptedServer, model: Router) -> None:
    server.script(cut('{"text": "Hel', usage=False))
    assert await asked(model, ADD) == [TextDelta("Hel"), Finished("length", None, "scripted")]


async def test_calls_cut_off_are_reported(server: ScriptedServer, model: Router) -> None:
    server.script(says('{"calls": [{"name": "add", "arguments": {"a"'))
    with pytest.raises(ModelError, match="did not hold its answer to the JSON schema"):
        await asked(model, ADD)
