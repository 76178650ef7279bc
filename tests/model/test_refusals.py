"""Learning from refusals: fields and forms of messages that an upstream does not accept are left out from then on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
import pytest
from structlog.testing import capture_logs

from service.model import refusal_trial
from service.model.base import ChatRequest, ModelStreamEnd
from service.model.refusal_trial import LearnedRefusals
from service.model.refusals import read_refusal
from tests import model_servers
from tests.model.conftest import REQUEST, Caller, failure
from tests.scripted import ScriptedServer, errors, says

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}, "strict": True}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True}}
EVERYTHING = ChatRequest(
    "asked",
    REQUEST.messages,
    tools=[TOOL],
    tool_choice="auto",
    parallel_tool_calls=False,
    temperature=0.5,
    top_p=0.9,
    response_format=SCHEMA,
    reasoning_effort="low",
    max_completion_tokens=300,
)
FIELDS = [
    "stream_options",
    "parallel_tool_calls",
    "tool_choice",
    "temperature",
    "top_p",
    "response_format",
    "reasoning_effort",
    "max_tokens",
]


def body_of(body: Any, name: str) -> Any:
    """Returns an error body with the name of the field in it."""
    text = orjson.dumps(body).decode().replace("{name}", name)
    return orjson.loads(text)


@pytest.mark.parametrize(("server_name", "status", "body"), model_servers.FIELD_REFUSALS)
@pytest.mark.parametrize("name", FIELDS)
async def test_a_refused_field_is_left_out_from_then_on(
    server: ScriptedServer, caller: Caller, server_name: str, status: int, body: Any, name: str
) -> None:
    server.check = model_servers.refuses_field(name, body_of(body, name), status)
    with capture_logs() as logs:
        for _ in range(3):
            assert isinstance((await caller.call(EVERYTHING))[-1], ModelStreamEnd)
    is_stepwise = name == "response_format" and server_name in model_servers.VAGUE
    assert [name in request for request in server.requests] == [True, *[True] * is_stepwise, False, False, False]
    assert caller.slept == []
    learned = [line["field"] for line in logs if line["event"] == "model_server_field_unsupported"]
    assert learned == ([f"{name} json_schema", f"{name} json_object"] if is_stepwise else [name])
    kept = set(FIELDS) - {name, "max_tokens"}
    assert kept <= set(server.requests[-1])


@pytest.mark.parametrize(
    "place",
    [["body", "tools", 0, "function", "strict"], "tools[0].function.strict", "response_format.json_schema.strict"],
)
async def test_a_nested_field_is_left_out(server: ScriptedServer, caller: Caller, place: Any) -> None:
    refusal = {"loc": place, "msg": "Extra inputs are not permitted", "type": "extra_forbidden"}
    server.check = lambda request: errors(422, {"detail": [refusal]}) if b'"strict"' in orjson.dumps(request) else None
    await caller.call(EVERYTHING)
    last = server.requests[-1]
    assert last["tools"] == [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    assert last["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "n", "schema": {"type": "object"}},
    }
    assert len(server.requests) == 2


async def test_several_refused_fields(server: ScriptedServer, caller: Caller) -> None:
    server.check = model_servers.both(model_servers.openai_reasoning, model_servers.mistral)
    await caller.call(EVERYTHING)
    assert set(server.requests[-1]) == {"model", "messages", "stream", "tools", "tool_choice", "response_format"}
    before = len(server.requests)
    await caller.call(EVERYTHING)
    assert len(server.requests) == before + 1


async def test_of_temperature_and_top_p_top_p_is_left_out(server: ScriptedServer, caller: Caller) -> None:
    server.check = model_servers.claude
    await caller.call(EVERYTHING)
    await caller.call(EVERYTHING)
    await caller.call(replace(EVERYTHING, temperature=None))
    sent = [(request.get("temperature"), request.get("top_p")) for request in server.requests]
    assert sent == [(0.5, 0.9), (0.5, None), (0.5, None), (None, 0.9)]


async def test_each_model_of_an_upstream_learns_by_itself(server: ScriptedServer, caller: Caller) -> None:
    refuses = model_servers.refuses_field("temperature", "temperature is not supported")
    server.check = lambda request: refuses(request) if request["model"] == "upstream-name" else None
    await caller.call(EVERYTHING)
    other = replace(caller.route, info=replace(caller.route.info, upstream_name="other"))
    caller.route = other
    await caller.call(EVERYTHING)
    assert ["temperature" in request for request in server.requests] == [True, False, True]


async def test_a_refusal_inside_a_stream(server: ScriptedServer, caller: Caller) -> None:
    error = {"error": {"message": "parallel_tool_calls is not supported", "code": 400}}
    server.check = lambda request: (
        says("").with_frames(b"data: " + orjson.dumps(error) + b"\n\n") if "parallel_tool_calls" in request else None
    )
    await caller.call(EVERYTHING)
    assert ["parallel_tool_calls" in request for request in server.requests] == [True, False]


async def test_a_field_that_a_text_only_mentions_is_sent_again(server: ScriptedServer, caller: Caller) -> None:
    text = "Supported parameters: temperature, top_p, tools. Not supported: parallel_tool_calls"
    server.check = model_servers.refuses_field("parallel_tool_calls", text)
    await caller.call(EVERYTHING)
    await caller.call(EVERYTHING)
    assert {"temperature", "top_p"} <= set(server.requests[-1])
    assert "parallel_tool_calls" not in server.requests[-1]


@pytest.mark.parametrize(
    "message",
    [
        "Invalid schema for response_format 'n': In context=(), 'additionalProperties' is required to be false.",
        "temperature: Input should be less than or equal to 1",
        "Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 2.5 instead.",
        "Failed to compile json grammar: response_format.json_schema.schema contains features not supported",
        "The prompt is too long: 9000 tokens > 8192 maximum",
        "This prompt about temperature violates our policy.",
    ],
)
async def test_a_refused_value_is_an_error_of_the_client(server: ScriptedServer, caller: Caller, message: str) -> None:
    server.script(errors(400, {"error": {"message": message, "param": None}}))
    error = await failure(caller, EVERYTHING)
    assert (error.code, message[:40] in error.message) == ("invalid_prompt", True)
    await caller.call(EVERYTHING)
    assert set(FIELDS) <= set(server.requests[-1])


async def test_a_limit_that_is_too_large_is_left_out_once(server: ScriptedServer, caller: Caller) -> None:
    text = "max_tokens is too large: 300000. This model supports at most 16384 completion tokens."
    server.check = lambda request: errors(400, text) if request.get("max_tokens", 0) > 16384 else None
    await caller.call(replace(EVERYTHING, max_completion_tokens=300_000))
    await caller.call(EVERYTHING)
    sent = [(request.get("max_tokens"), request.get("max_completion_tokens")) for request in server.requests]
    assert sent == [(300_000, None), (None, None), (300, None)]


async def test_without_tool_choice_none_sends_no_tools(server: ScriptedServer, caller: Caller) -> None:
    server.check = model_servers.refuses_field("tool_choice", "tool_choice is not supported")
    await caller.call(replace(EVERYTHING, tool_choice="none"))
    assert "tools" not in server.requests[-1]


async def test_a_server_that_always_refuses_is_asked_once_for_each_name(server: ScriptedServer, caller: Caller) -> None:
    server.default = errors(400, f"unsupported: {' '.join(FIELDS)}")
    error = await failure(caller, EVERYTHING)
    assert error.code == "invalid_prompt"
    assert len(server.requests) <= len(FIELDS) + 4
    server.default = says("ok")
    await caller.call(EVERYTHING)
    assert set(FIELDS) <= set(server.requests[-1]), "nothing is learned from a server that refuses everything"


def test_the_models_that_are_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusal_trial, "MAX_MODELS", 2)
    learned = LearnedRefusals()
    assert [learned.add(model, "top_p") for model in ("a", "b", "a", "c")] == [True, True, False, True]
    assert [bool(learned.names(model)) for model in "abc"] == [True, False, True]


def test_copies_of_the_request_name_nothing() -> None:
    detail = {"loc": ["body", "messages", 0, "content"], "msg": "unknown", "input": {"temperature": "top_p"}}
    assert read_refusal(422, {"detail": [detail]}).names == ()
    deep: Any = "temperature is not supported"
    for _ in range(100_000):
        deep = [deep]
    assert read_refusal(400, deep).names == ()


# Forms of messages.

USER, ANSWER = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}
SYSTEM = {"role": "system", "content": "s"}
CALL = {"id": "call_0123456789", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CALLS = {"role": "assistant", "content": None, "tool_calls": [CALL]}
OUTPUT = {"role": "tool", "tool_call_id": CALL["id"], "content": "1"}


async def sent_messages(server: ScriptedServer, caller: Caller, *messages: Any) -> list[Any]:
    """Returns the messages of the last request, after two calls, of which the second is not refused."""
    request = ChatRequest("asked", messages)
    await caller.call(request)
    before = len(server.requests)
    await caller.call(request)
    assert len(server.requests) == before + 1
    assert server.requests[-1] == server.requests[-2]
    found: list[Any] = server.requests[-1]["messages"]
    return found


@pytest.mark.parametrize("status", [400, 422, 500])
async def test_messages_in_a_row_are_merged(server: ScriptedServer, caller: Caller, status: int) -> None:
    server.check = model_servers.alternating_template(status)
    image = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    pictures = {"role": "user", "content": [image]}
    found = await sent_messages(server, caller, SYSTEM, USER, USER, pictures, ANSWER, ANSWER, USER)
    text = {"type": "text", "text": "a\n\na"}
    merged_answer = {"role": "assistant", "content": "b\n\nb"}
    assert found == [SYSTEM, {"role": "user", "content": [text, image]}, merged_answer, USER]


async def test_messages_in_a_row_stay_if_the_server_accepts_them(server: ScriptedServer, caller: Caller) -> None:
    assert await sent_messages(server, caller, USER, USER) == [USER, USER]


@pytest.mark.parametrize("text", ["", 'messages: roles must alternate between "user" and "assistant"'])
async def test_a_conversation_that_the_assistant_begins_and_ends(
    server: ScriptedServer, caller: Caller, text: str
) -> None:
    server.check = model_servers.alternating_template(400, text)
    found = await sent_messages(server, caller, ANSWER, USER, ANSWER)
    assert [message["role"] for message in found] == ["user", "assistant", "user", "assistant", "user"]
    assert [found[1], found[2], found[3]] == [ANSWER, USER, ANSWER]


async def test_a_server_without_a_system_role(server: ScriptedServer, caller: Caller) -> None:
    server.check = model_servers.gemma_template
    found = await sent_messages(server, caller, SYSTEM, USER, USER)
    assert found == [{"role": "user", "content": "s\n\na\n\na"}]


async def test_ids_of_other_servers_become_nine_letters_and_digits(server: ScriptedServer, caller: Caller) -> None:
    server.check = model_servers.mistral
    own = {**CALL, "id": "abcDEF123"}
    calls = {**CALLS, "tool_calls": [CALL, own]}
    found = await sent_messages(server, caller, USER, calls, OUTPUT, {**OUTPUT, "tool_call_id": "abcDEF123"}, ANSWER)
    first, second = (call["id"] for call in found[1]["tool_calls"])
    assert (len(first), second) == (9, "abcDEF123")
    assert [found[2]["tool_call_id"], found[3]["tool_call_id"]] == [first, second]
    assert found[-1]["role"] == "user", "Mistral wants the user or a tool at the end"


async def test_a_missing_content_becomes_empty(server: ScriptedServer, caller: Caller) -> None:
    server.check = model_servers.null_content
    found = await sent_messages(server, caller, USER, CALLS, OUTPUT)
    assert found[1] == {**CALLS, "content": ""}


async def test_the_detail_of_images_is_left_out(server: ScriptedServer, caller: Caller) -> None:
    place = ["body", "messages", 0, "content", 0, "image_url", "detail"]
    body = {"detail": [{"loc": place, "msg": "Extra inputs are not permitted"}]}
    server.check = lambda request: errors(422, body) if b'"detail"' in orjson.dumps(request) else None
    picture = {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}}
    (found,) = await sent_messages(server, caller, {"role": "user", "content": [picture]})
    assert found["content"] == [{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]


async def test_a_message_between_a_tool_and_the_user(server: ScriptedServer, caller: Caller) -> None:
    server.script(errors(400, {"message": "Unexpected role 'user' after role 'tool'"}))
    await caller.call(ChatRequest("asked", [USER, CALLS, OUTPUT, USER]))
    roles = [message["role"] for message in server.requests[-1]["messages"]]
    assert roles == ["user", "assistant", "tool", "assistant", "user"]
