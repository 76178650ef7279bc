"""Refusals as real servers write them: each run goes on, and what was learned is respected from then on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson
import pytest

from service.model.base import ChatRequest, ModelStreamEnd, TextDelta, ToolCallDelta
from service.model.refusals import read_refusal
from service.model.request import ANY_OBJECT
from tests import model_servers
from tests.model.conftest import REQUEST, Caller, failure, open_test_model
from tests.scripted import ScriptedServer, errors, says
from tests.scripted_replies import Reply

Json = dict[str, Any]
Check = Callable[[Json], Reply | None]
USER, ANSWER = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}
SYSTEM = {"role": "system", "content": "s"}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}
OBJECT = {"type": "json_object"}
TOOLS = [{"type": "function", "function": {"name": name, "parameters": {"type": "object"}}} for name in ("f", "g")]
NAMED = {"type": "function", "function": {"name": "g"}}


def call_of(call_id: str) -> Json:
    return {"id": call_id, "type": "function", "function": {"name": "f", "arguments": "{}"}}


def output_of(call_id: str, content: str = "1") -> Json:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


def calls_with(content: str | None, *ids: str) -> Json:
    return {"role": "assistant", "content": content, "tool_calls": [call_of(each) for each in ids]}


def refuses(condition: Callable[[Json], Any], body: Any, status: int = 400) -> Check:
    return lambda request: errors(status, body) if condition(request) else None


async def last_request(server: ScriptedServer, caller: Caller, request: ChatRequest) -> Json:
    """Returns the last request, after two calls, of which the second is not refused."""
    assert isinstance((await caller.call(request))[-1], ModelStreamEnd)
    before = len(server.requests)
    assert isinstance((await caller.call(request))[-1], ModelStreamEnd)
    assert len(server.requests) == before + 1, "the second call was refused too"
    assert caller.slept == []
    return server.requests[-1]


# Bodies.


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, model_servers.openrouter('{"error":{"message":"Unsupported parameter: \'top_p\'","param":"top_p"}}')),
        (400, model_servers.openrouter("top_p is not supported")),
        (404, {"error": {"message": "No endpoints found that support top_p", "code": 404}}),
        (500, {"error": {"type": "request_fail", "upstream_error": {"error": {"message": "top_p: Extra inputs"}}}}),
        (502, "All providers failed: top_p is not supported by m"),
        (400, {"detail": "Extra parameters ['top_p'] are not allowed when extra-parameters is not set."}),
        (400, {"message": "top_p=0.9 is not supported by this model.", "param": "top_p", "code": "wrong_api_format"}),
        (400, 'litellm.BadRequestError: X - {"error":{"message":"top_p is not supported"}}. Received Model Group=m'),
        (400, {"error": {"message": "模型不支持 top_p 参数"}}),
        (400, {"error": {"details": [{"fieldViolations": [{"field": "top_p", "description": "Unknown name"}]}]}}),
        (400, {"error": {"message": "invalid top_p: only 1 is allowed for this model"}}),
    ],
)
async def test_bodies_that_name_a_field(server: ScriptedServer, caller: Caller, status: int, body: Any) -> None:
    server.check = refuses(lambda request: "top_p" in request, body, status)
    assert "top_p" not in await last_request(server, caller, replace(REQUEST, top_p=0.9))


async def test_a_refusal_that_always_names_two_fields(server: ScriptedServer, caller: Caller) -> None:
    both = {"temperature", "parallel_tool_calls"}
    text = "Not supported: temperature, parallel_tool_calls"
    server.check = refuses(lambda request: both & set(request), text)
    request = replace(REQUEST, tools=TOOLS, temperature=0.5, parallel_tool_calls=False)
    assert not both & set(await last_request(server, caller, request))


async def test_an_error_in_a_stream_without_a_status(server: ScriptedServer, caller: Caller) -> None:
    """LM Studio has begun its answer when it renders the prompt."""
    text = 'Error rendering prompt with jinja template: "Conversation roles must alternate user/assistant"'
    frame = b"event: error\ndata: " + orjson.dumps({"error": {"message": text}}) + b"\n\n"
    server.check = lambda request: says("").with_frames(frame) if len(request["messages"]) > 1 else None
    sent = await last_request(server, caller, ChatRequest("asked", [USER, USER]))
    assert sent["messages"] == [{"role": "user", "content": "a\n\na"}]


def test_the_request_in_an_error_names_nothing() -> None:
    text = (
        "[{'type': 'value_error', 'loc': ('body',), 'msg': 'Value error, bad', 'input': {'top_p': 1, 'stream': True}}]"
    )
    assert read_refusal(400, {"message": text}).names == ()


# Values.


@pytest.mark.parametrize(
    "text",
    [
        "top_p must be in (0, 1], got 0.0.",
        "Input validation error: `top_p` must be > 0.0 and < 1.0",
        "top_p 参数非法。取值范围(0,1)",
    ],
)
async def test_a_value_out_of_range_is_not_learned(server: ScriptedServer, caller: Caller, text: str) -> None:
    body = {"error": {"message": text, "param": "top_p"}}
    server.check = refuses(lambda request: request.get("top_p") in (0, 1), body)
    assert (await failure(caller, replace(REQUEST, top_p=0.0))).code == "invalid_prompt"
    await caller.call(replace(REQUEST, top_p=1.0))
    assert "top_p" not in server.requests[-1], "1 means no limit, as if it were left out"
    await caller.call(replace(REQUEST, top_p=0.5))
    assert server.requests[-1]["top_p"] == 0.5


async def test_a_format_that_needs_the_word_json_is_not_learned(server: ScriptedServer, caller: Caller) -> None:
    text = "Prompt must contain the word 'json' in some form to use 'response_format' of type 'json_object'."
    server.script(errors(400, {"error": {"message": text, "param": None}}))
    assert (await failure(caller, replace(REQUEST, response_format=OBJECT))).code == "invalid_prompt"
    await caller.call(replace(REQUEST, response_format=OBJECT))
    assert server.requests[-1]["response_format"] == OBJECT


async def test_an_effort_that_the_model_does_not_know_is_left_out_once(server: ScriptedServer, caller: Caller) -> None:
    text = (
        "Unsupported value: 'reasoning_effort' does not support 'minimal' with this model. Supported values are: 'low'."
    )
    body = {"error": {"message": text, "param": "reasoning_effort", "code": "unsupported_value"}}
    server.check = refuses(lambda request: request.get("reasoning_effort") == "minimal", body)
    await caller.call(replace(REQUEST, reasoning_effort="minimal"))
    await caller.call(replace(REQUEST, reasoning_effort="low"))
    assert [request.get("reasoning_effort") for request in server.requests] == ["minimal", None, "low"]


# Formats, choices and streams.


@pytest.mark.parametrize("text", ["This response_format type is unavailable now", "json_schema is not supported"])
async def test_a_schema_becomes_any_object(server: ScriptedServer, caller: Caller, text: str) -> None:
    server.check = refuses(lambda request: "json_schema" in request.get("response_format", {}), {"error": text})
    sent = await last_request(server, caller, replace(REQUEST, response_format=SCHEMA))
    assert sent["response_format"] == OBJECT
    assert sent["messages"][0]["role"] == "system"
    assert '{"type":"object"}' in sent["messages"][0]["content"]


async def test_any_object_becomes_a_schema(server: ScriptedServer, caller: Caller) -> None:
    """LM Studio knows schemas only."""
    server.check = refuses(
        lambda request: request.get("response_format") == OBJECT,
        {"error": "'response_format.type' must be 'json_schema' or 'text'"},
    )
    sent = await last_request(server, caller, ChatRequest("asked", [SYSTEM, USER], response_format=OBJECT))
    assert sent["response_format"]["json_schema"]["schema"] == {"type": "object"}
    assert sent["messages"][0]["content"] == f"s\n\n{ANY_OBJECT}"
    await caller.call(replace(REQUEST, response_format=SCHEMA))
    assert server.requests[-1]["response_format"] == SCHEMA


async def test_a_server_without_formats_gets_the_schema_as_words(server: ScriptedServer, caller: Caller) -> None:
    server.check = refuses(lambda request: "response_format" in request, "response_format is not supported")
    sent = await last_request(server, caller, replace(REQUEST, response_format=SCHEMA))
    assert "response_format" not in sent
    assert '{"type":"object"}' in sent["messages"][0]["content"]


async def test_a_format_beside_tools_is_left_out_of_that_call(server: ScriptedServer, caller: Caller) -> None:
    body = {"error": {"message": "json mode cannot be combined with tool/function calling"}}
    server.check = refuses(lambda request: {"response_format", "tools"} <= set(request), body)
    await caller.call(replace(REQUEST, response_format=OBJECT, tools=TOOLS))
    await caller.call(replace(REQUEST, response_format=OBJECT))
    assert ["response_format" in request for request in server.requests] == [True, False, True]


async def test_a_named_choice_becomes_required(server: ScriptedServer, caller: Caller) -> None:
    text = "Invalid tool_choice type: 'object'. Supported string values: none, auto, required"
    server.check = refuses(lambda request: isinstance(request.get("tool_choice"), dict), {"error": text})
    sent = await last_request(server, caller, replace(REQUEST, tools=TOOLS, tool_choice=NAMED))
    assert (sent["tool_choice"], sent["tools"]) == ("required", TOOLS[1:])
    await caller.call(replace(REQUEST, tools=TOOLS, tool_choice="required"))
    assert (server.requests[-1]["tool_choice"], server.requests[-1]["tools"]) == ("required", TOOLS)


async def test_a_required_choice_becomes_auto(server: ScriptedServer, caller: Caller) -> None:
    text = "The tool_choice parameter does not support being set to required or object in thinking mode"
    server.check = refuses(lambda request: request.get("tool_choice") not in (None, "auto"), {"message": text})
    sent = await last_request(server, caller, replace(REQUEST, tools=TOOLS, tool_choice=NAMED))
    assert (sent["tool_choice"], sent["tools"]) == ("auto", TOOLS[1:])


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, {"error": {"message": "Your organization must be verified to stream this model.", "param": "stream"}}),
        (400, {"error": {"message": "Streaming is not supported for this model."}}),
        (400, {"error": {"message": "Unsupported value: 'stream' does not support true.", "param": "stream"}}),
    ],
)
async def test_a_model_that_does_not_stream(server: ScriptedServer, caller: Caller, status: int, body: Any) -> None:
    server.check = refuses(lambda request: request["stream"], body, status)
    server.default = says("a b")
    sent = await last_request(server, caller, REQUEST)
    assert (sent["stream"], "stream_options" in sent) == (False, False)
    assert [event for event in await caller.call() if isinstance(event, TextDelta)] == [TextDelta("a b")]


@pytest.mark.parametrize(
    ("status", "text"),
    [(400, "This model doesn't support tool use in streaming mode."), (500, "Cannot use tools with stream")],
)
async def test_a_model_that_does_not_stream_beside_tools(
    server: ScriptedServer, caller: Caller, status: int, text: str
) -> None:
    body = {"error": {"message": text, "code": status}}
    server.check = refuses(lambda request: request["stream"] and "tools" in request, body, status)
    assert not (await last_request(server, caller, replace(REQUEST, tools=TOOLS)))["stream"]
    await caller.call()
    assert server.requests[-1]["stream"]


# Forms of messages.


@pytest.mark.parametrize(
    "text",
    [
        "Conversation roles must alternate user/assistant/user/assistant/...",
        "Only user and assistant roles are supported!",
        "Unsupported value: 'messages[0].role' does not support 'system' with this model.",
        "'system' is not one of ['user', 'assistant'] - 'messages.0.role'",
    ],
)
async def test_a_template_without_a_system_role(server: ScriptedServer, caller: Caller, text: str) -> None:
    body = {"error": {"message": text, "param": "messages[0].role"}}
    server.check = refuses(lambda request: request["messages"][0]["role"] == "system", body)
    sent = await last_request(server, caller, ChatRequest("asked", [SYSTEM, USER, ANSWER, USER]))
    assert sent["messages"] == [{"role": "user", "content": "s\n\na"}, ANSWER, USER]


@pytest.mark.parametrize(
    "text",
    [
        "deepseek-reasoner does not support successive user or assistant messages. You should interleave them.",
        "Your API request included an `assistant` message in the final position, which would pre-fill the response.",
        "This model does not support assistant message prefill. The conversation must end with a user message.",
        "Please ensure that function call turn comes immediately after a user turn.",
    ],
)
async def test_words_for_roles_that_do_not_alternate(server: ScriptedServer, caller: Caller, text: str) -> None:
    roles = ["user", "assistant", "user"]
    server.check = refuses(lambda request: [one["role"] for one in request["messages"]] != roles, {"message": text})
    sent = await last_request(server, caller, ChatRequest("asked", [USER, USER, ANSWER]))
    assert [one["role"] for one in sent["messages"]] == roles


async def test_several_calls_in_a_message_are_divided(server: ScriptedServer, caller: Caller) -> None:
    text = "This model only supports single tool-calls at once!"
    server.check = refuses(
        lambda request: any(len(one.get("tool_calls", ())) > 1 for one in request["messages"]), {"error": text}, 500
    )
    messages = [USER, calls_with("t", "x", "y"), output_of("x"), output_of("y", "2"), ANSWER, USER]
    sent = await last_request(server, caller, ChatRequest("asked", messages))
    divided = [calls_with("t", "x"), output_of("x"), calls_with(None, "y"), output_of("y", "2")]
    assert sent["messages"] == [USER, *divided, ANSWER, USER]


async def test_a_template_without_a_tool_role(server: ScriptedServer, caller: Caller) -> None:
    text = "Only user, assistant and system roles are supported!"
    server.check = refuses(lambda request: any(one["role"] == "tool" for one in request["messages"]), {"error": text})
    sent = await last_request(server, caller, ChatRequest("asked", [USER, calls_with(None, "x"), output_of("x")]))
    assert [one["role"] for one in sent["messages"]] == ["user", "assistant", "user"]
    assert sent["messages"][2]["content"] == "Output of f:\n1"


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (400, "invalid message content type: <nil>"),
        (500, "[json.exception.type_error.302] type must be string, but is null"),
        (400, "Missing 'content' field"),
    ],
)
async def test_words_for_a_missing_content(server: ScriptedServer, caller: Caller, status: int, text: str) -> None:
    server.check = refuses(
        lambda request: any(one["content"] is None for one in request["messages"]), {"error": {"message": text}}, status
    )
    sent = await last_request(server, caller, ChatRequest("asked", [USER, calls_with(None, "x"), output_of("x")]))
    assert sent["messages"][1]["content"] == ""


@pytest.mark.parametrize(
    "text", ["messages: text content blocks must be non-empty", "The content field at messages.2 is empty."]
)
async def test_an_empty_content_becomes_a_word(server: ScriptedServer, caller: Caller, text: str) -> None:
    server.check = refuses(
        lambda request: any(one.get("content") == "" for one in request["messages"]), {"error": {"message": text}}
    )
    messages = [USER, calls_with(None, "x"), output_of("x", ""), {"role": "assistant", "content": ""}, USER]
    sent = await last_request(server, caller, ChatRequest("asked", messages))
    assert [one["content"] for one in sent["messages"]] == ["a", None, "[empty]", "[empty]", "a"]


# Models without tools.


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (400, "registry.ollama.ai/library/gemma:2b does not support tools"),
        (404, "No endpoints found that support tool use. To learn more about provider routing"),
        (400, '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'),
        (500, "tools param requires --jinja flag"),
        (400, "model features function calling not support"),
    ],
)
async def test_a_model_without_tools_is_prompted(server: ScriptedServer, status: int, text: str) -> None:
    server.check = refuses(lambda request: "tools" in request, {"error": {"message": text}}, status)
    server.default = says('{"calls": [{"name": "g", "arguments": {"a": 1}}]}')
    model = open_test_model(server.base_url, "key")
    request = replace(REQUEST, tools=TOOLS, tool_choice="auto")
    try:
        for _ in range(2):
            events = [event for batch in [each async for each in model.stream(request)] for event in batch]
            [call] = [event for event in events if isinstance(event, ToolCallDelta) and event.name]
            assert call.name == "g"
            assert isinstance(events[-1], ModelStreamEnd)
            assert events[-1].reason == "tool_calls"
    finally:
        await model.close()
    assert "tools" not in server.requests[-1]
    assert "tools" not in server.requests[-2], "the second run does not ask again"


async def test_a_refusal_of_tools_stays_if_a_prompt_does_not_help(server: ScriptedServer) -> None:
    server.default = errors(400, {"error": {"message": "m does not support tools"}})
    model = open_test_model(server.base_url, "key")
    try:
        with pytest.raises(Exception, match="m does not support tools"):
            [batch async for batch in model.stream(replace(REQUEST, tools=TOOLS))]
        server.default = says("ok")
        [batch async for batch in model.stream(replace(REQUEST, tools=TOOLS))]
    finally:
        await model.close()
    assert "tools" in server.requests[-1]


@pytest.mark.parametrize(
    "text",
    [
        "Tool parameters schema does not support $ref",
        "Tools with recursive schemas are not supported.",
        "Invalid schema for function 'f': tools do not support 'oneOf'",
        "Tool names may not contain spaces; unsupported name",
        "Tool call x was not found",
    ],
)
def test_a_refused_tool_is_no_lack_of_tools(text: str) -> None:
    assert not read_refusal(400, {"error": {"message": text}}).is_about_tools
