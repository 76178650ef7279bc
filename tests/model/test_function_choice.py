"""Models without tools: a forced call becomes a schema, an offered tool becomes nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from service.model.base import ChatRequest, Finished, ModelError, ModelEvent, ModelInfo, TextDelta, ToolCallDelta
from service.model.router import Router
from tests.model.conftest import routed
from tests.scripted import ScriptedServer, cut, says

SMALL = ModelInfo("small", 8192, "cl100k_base", 1.5, vision=False, tools=False)
PARAMETERS = {"type": "object", "properties": {"a": {"type": "integer"}}}
ADD = {"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": PARAMETERS}}
NOW = {"type": "function", "function": {"name": "now"}}


@pytest.fixture
async def model(server: ScriptedServer) -> AsyncIterator[Router]:
    made = routed(server.base_url, served=SMALL)
    yield made
    await made.close()


async def called(model: Router, choice: Any, *tools: Any) -> list[ModelEvent]:
    request = ChatRequest("m", [{"role": "user", "content": "Hi"}], tools=tools, tool_choice=choice)
    return [event async for batch in model.stream(request) for event in batch]


@pytest.mark.parametrize("choice", ["auto", "none", None])
async def test_offered_tools_are_left_out(server: ScriptedServer, model: Router, choice: Any) -> None:
    server.script(says("text", usage=False))
    assert await called(model, choice, ADD) == [TextDelta("text"), Finished("stop", None, "scripted")]
    assert not {"tools", "tool_choice", "response_format"} & set(await server.received())


@pytest.mark.parametrize(
    ("choice", "tools"),
    [("required", [ADD]), ({"type": "function", "function": {"name": "add"}}, [NOW, ADD])],
)
async def test_one_function_is_held_to_its_parameters(
    server: ScriptedServer, model: Router, choice: Any, tools: list[Any]
) -> None:
    server.script(says('{ "a":\n 1 }', usage=False))
    head, end = await called(model, choice, *tools)
    assert isinstance(head, ToolCallDelta)
    assert (head.index, head.name, head.arguments) == (0, "add", '{"a":1}')
    assert head.id is not None
    assert head.id.startswith("call_")
    assert end == Finished("tool_calls", None, "scripted")
    request = await server.received()
    assert request["response_format"]["json_schema"]["schema"] == PARAMETERS
    assert request["messages"][-1]["content"] == "Call a function (add: Adds.). Answer with JSON: its arguments."


async def test_several_functions_name_the_one_they_call(server: ScriptedServer, model: Router) -> None:
    server.script(says('{"name":"now","arguments":{}}'))
    head, _ = await called(model, "required", ADD, NOW)
    assert isinstance(head, ToolCallDelta)
    assert (head.name, head.arguments) == ("now", "{}")
    schema = (await server.received())["response_format"]["json_schema"]["schema"]
    assert [one["properties"]["name"] for one in schema["anyOf"]] == [{"const": "add"}, {"const": "now"}]


async def test_a_cut_reply_brings_no_call_and_a_free_one_is_an_error(server: ScriptedServer, model: Router) -> None:
    server.script(cut('{"a":', usage=False), says("no json"))
    assert await called(model, "required", ADD) == [Finished("length", None, "scripted")]
    with pytest.raises(ModelError, match="did not hold its answer to the JSON schema"):
        await called(model, "required", ADD)
