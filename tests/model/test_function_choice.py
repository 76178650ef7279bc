"""Models without tools: a required call becomes a schema, and an offered tool is left out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from service.model.base import ChatRequest, ModelError, ModelEvent, ModelInfo, ModelStreamEnd, TextDelta, ToolCallDelta
from service.model.router import Router
from tests.model.conftest import open_test_model
from tests.scripted import ScriptedServer, cuts_off, says

SMALL = ModelInfo("small", 8192, "cl100k_base", 1.5, vision=False, tools=False)
PARAMETERS = {"type": "object", "properties": {"a": {"type": "integer"}}}
ADD = {"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": PARAMETERS}}
NOW = {"type": "function", "function": {"name": "now"}}


@pytest.fixture
async def model(server: ScriptedServer) -> AsyncIterator[Router]:
    router = open_test_model(server.base_url, embedded=SMALL)
    yield router
    await router.close()


async def call(model: Router, choice: Any, *tools: Any) -> list[ModelEvent]:
    request = ChatRequest("m", [{"role": "user", "content": "Hi"}], tools=tools, tool_choice=choice)
    return [event async for batch in model.stream(request) for event in batch]


@pytest.mark.parametrize("choice", ["auto", "none", None])
async def test_offered_tools_are_left_out(server: ScriptedServer, model: Router, choice: Any) -> None:
    server.script(says("text", usage=False))
    assert await call(model, choice, ADD) == [TextDelta("text"), ModelStreamEnd("stop", None, "scripted")]
    assert not {"tools", "tool_choice", "response_format"} & set(await server.next_request())


@pytest.mark.parametrize(
    ("choice", "tools"),
    [("required", [ADD]), ({"type": "function", "function": {"name": "add"}}, [NOW, ADD])],
)
async def test_the_answer_is_constrained_to_the_parameters_of_one_function(
    server: ScriptedServer, model: Router, choice: Any, tools: list[Any]
) -> None:
    server.script(says('{ "a":\n 1 }', usage=False))
    head, end = await call(model, choice, *tools)
    assert isinstance(head, ToolCallDelta)
    assert (head.index, head.name, head.arguments) == (0, "add", '{"a":1}')
    assert head.id is not None
    assert head.id.startswith("call_")
    assert end == ModelStreamEnd("tool_calls", None, "scripted")
    request = await server.next_request()
    assert request["response_format"]["json_schema"]["schema"] == PARAMETERS
    assert request["messages"][-1]["content"] == "Call a function (add: Adds.). Answer with JSON: its arguments."


async def test_with_several_functions_the_answer_names_one(server: ScriptedServer, model: Router) -> None:
    server.script(says('{"name":"now","arguments":{}}'))
    head, _ = await call(model, "required", ADD, NOW)
    assert isinstance(head, ToolCallDelta)
    assert (head.name, head.arguments) == ("now", "{}")
    schema = (await server.next_request())["response_format"]["json_schema"]["schema"]
    assert [one["properties"]["name"] for one in schema["anyOf"]] == [{"const": "add"}, {"const": "now"}]


async def test_a_cut_off_reply_has_no_call(server: ScriptedServer, model: Router) -> None:
    server.script(cuts_off('{"a":', usage=False))
    assert await call(model, "required", ADD) == [ModelStreamEnd("length", None, "scripted")]


async def test_a_reply_without_json_is_an_error(server: ScriptedServer, model: Router) -> None:
    server.script(says("no json"))
    with pytest.raises(ModelError, match="did not hold its answer to the JSON schema"):
        await call(model, "required", ADD)
