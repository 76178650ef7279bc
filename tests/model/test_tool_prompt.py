"""Prompted tools: the prompt, the schema of the answer, and the events of the answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from service.model.base import ChatRequest, ModelError, ModelEvent, ModelInfo, ModelStreamEnd, TextDelta, ToolCallDelta
from service.model.router import Router
from service.model.tool_prompt import MAX_ROUNDS
from tests.model.conftest import open_test_model
from tests.model.test_prompted_answer import concatenate
from tests.scripted import ScriptedServer, cuts_off, says

SMALL = ModelInfo("small", 8192, "cl100k_base", 1.5, vision=False, tools="prompted")
PARAMETERS = {"type": "object", "properties": {"a": {"type": "integer"}}}
ADD = {"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": PARAMETERS}}
NOW = {"type": "function", "function": {"name": "now"}}
CODE = {"type": "function", "function": {"name": "code_interpreter", "parameters": PARAMETERS}}


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
