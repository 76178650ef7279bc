"""A client for one upstream: calls, retries, time-outs, errors and the closing of connections."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from service.model import retry
from service.model.base import ChatRequest, ModelStreamEnd, ModelUsage, TextDelta, ToolCallDelta
from service.model.upstream import Timeouts
from tests.clock import LoopClock
from tests.model.conftest import KEY, REQUEST, Caller, failure
from tests.scripted import ScriptedServer, calls, chunk, errors, hangs, says

LONG = Timeouts(connect=60, first_token=60, between=60)


async def test_the_body_of_a_call(server: ScriptedServer, caller: Caller) -> None:
    tool = {"type": "function", "function": {"name": "f", "strict": True}}
    server.script(says("a b", usage=(4, 2)))
    events = await caller.call(
        ChatRequest(
            "asked",
            REQUEST.messages,
            tools=[tool],
            tool_choice="required",
            parallel_tool_calls=False,
            temperature=0.5,
            top_p=0.9,
            response_format={"type": "json_object"},
            reasoning_effort="low",
            max_completion_tokens=300,
        )
    )
    assert events == [TextDelta("a"), TextDelta(" b"), ModelStreamEnd("stop", ModelUsage(4, 2), "scripted")]
    assert await server.next_request() == {
        "model": "upstream-name",
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "tools": [tool],
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "temperature": 0.5,
        "top_p": 0.9,
        "response_format": {"type": "json_object"},
        "reasoning_effort": "low",
        "max_tokens": 300,
    }
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"


async def test_tool_calls(server: ScriptedServer, caller: Caller) -> None:
    server.script(calls(("f", {"a": 1}), text="Let me see"))
    events = await caller.call()
    assert "".join(e.arguments for e in events if isinstance(e, ToolCallDelta)) == '{"a":1}'
    assert isinstance(events[-1], ModelStreamEnd)
    assert events[-1].reason == "tool_calls"


async def test_events_arrive_as_the_server_sends_them(server: ScriptedServer, caller: Caller) -> None:
    server.script(says("a b").waits("middle", before=2))
    stream = caller.upstream.stream(caller.route, REQUEST)
    assert await anext(stream) == [TextDelta("a")]
    server.open_gate("middle")
    rest = [event async for batch in stream for event in batch]
    assert rest[0] == TextDelta(" b")


async def test_connections_are_reused(server: ScriptedServer, caller: Caller) -> None:
    for _ in range(3):
        await caller.call()
    assert server.connections == 1


async def test_waiting_for_the_end_of_a_response_is_limited(server: ScriptedServer, caller: Caller) -> None:
    reply = says("a")
    server.script(reply.hangs_after(len(reply.frames)))
    assert isinstance((await caller.call())[-1], ModelStreamEnd)
    await server.wait_for_disconnect()


async def test_a_server_that_answers_with_one_document(server: ScriptedServer, caller: Caller) -> None:
    whole = b'{"choices":[{"message":{"content":"all"},"finish_reason":"stop"}]}'
    server.script(errors(200, whole.decode()))
    assert await caller.call() == [TextDelta("all"), ModelStreamEnd("stop", None, "upstream-name")]


async def test_closing_the_generator_stops_the_call(server: ScriptedServer, caller: Caller) -> None:
    server.script(hangs(after=2))
    stream = caller.upstream.stream(caller.route, REQUEST)
    assert await anext(stream)
    await stream.aclose()
    await server.wait_for_disconnect()


@pytest.mark.parametrize("reply", [hangs(after=2), hangs(), says("x").holds("never")])
async def test_cancelling_the_reader_stops_the_call(server: ScriptedServer, caller: Caller, reply: Any) -> None:
    server.script(reply)
    task = asyncio.create_task(caller.call())
    await server.next_request()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await server.wait_for_disconnect()


@pytest.mark.parametrize(
    "reply", [says("x").holds("never"), hangs(after=0), hangs(after=0).with_frames(b": ping\n\n", "hang")]
)
async def test_the_time_out_of_the_first_token(
    clock: LoopClock, server: ScriptedServer, caller_of: Callable[..., Caller], reply: Any
) -> None:
    server.script(reply)
    caller = caller_of(timeouts=LONG)
    failed = asyncio.create_task(failure(caller))
    await server.next_request()
    clock.skip(LONG.first_token)
    error = await failed
    assert (error.code, error.message) == ("server_error", "The model server gave no first token within 60 s.")
    await server.wait_for_disconnect()
    assert len(server.requests) == 1


@pytest.mark.parametrize("after", [1, 2])
async def test_the_time_between_tokens(server: ScriptedServer, caller_of: Callable[..., Caller], after: int) -> None:
    server.script(hangs(after=after))
    caller = caller_of(timeouts=Timeouts(60, first_token=60, between=0.05))
    error = await failure(caller)
    assert (error.code, error.message) == ("server_error", "The model server gave no next token within 0.05 s.")
    await server.wait_for_disconnect()


async def test_a_slow_reader_is_not_a_slow_server(
    clock: LoopClock, server: ScriptedServer, caller_of: Callable[..., Caller]
) -> None:
    """The time between two requests for a batch does not count."""
    server.script(says("a b").waits("middle", before=2))
    caller = caller_of(timeouts=LONG)
    stream = caller.upstream.stream(caller.route, REQUEST)
    assert await anext(stream)
    clock.skip(LONG.first_token + LONG.between)
    server.open_gate("middle")
    assert [event async for batch in stream for event in batch]


async def test_a_server_that_does_not_listen(caller_of: Callable[..., Caller]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        caller = caller_of(base_url=f"http://127.0.0.1:{taken.getsockname()[1]}/v1")
        error = await failure(caller)
        assert error.code == "server_error"
        assert error.message == "The model server cannot be reached: connection refused"
        assert len(caller.slept) == retry.MAX_ATTEMPTS - 2  # the second attempt comes at once
        assert await caller.upstream.check_health() == "The model server cannot be reached: connection refused"


async def test_the_time_out_of_a_connection(caller_of: Callable[..., Caller]) -> None:
    with socket.socket() as full:  # a listener that accepts nothing, its backlog full
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        others = [socket.socket() for _ in range(4)]
        for other in others:
            other.setblocking(False)
            other.connect_ex(full.getsockname())
        caller = caller_of(base_url=f"http://127.0.0.1:{full.getsockname()[1]}/v1", timeouts=Timeouts(0.05, 5, 5))
        assert (await failure(caller)).message == "The model server cannot be reached: it did not answer in time"
        for other in others:
            other.close()


async def test_a_server_without_stream_options(server: ScriptedServer, caller: Caller) -> None:
    server.script(errors(400, {"error": {"message": "Extra inputs are not permitted: stream_options"}}))
    await caller.call()
    await caller.call()
    assert ["stream_options" in request for request in server.requests] == [True, False, False]
    assert caller.slept == []


@pytest.mark.parametrize("first", ["max_tokens", "max_completion_tokens"])
async def test_the_limit_under_its_other_name(
    server: ScriptedServer, caller_of: Callable[..., Caller], first: str
) -> None:
    other = "max_completion_tokens" if first == "max_tokens" else "max_tokens"
    caller = caller_of(limit_field=first)
    server.script(errors(400, {"error": {"message": f"Unsupported parameter: '{first}' is not supported"}}))
    asked = ChatRequest("asked", REQUEST.messages, max_completion_tokens=256)
    await caller.call(asked)
    await caller.call(asked)
    assert [first in request for request in server.requests] == [True, False, False]
    assert [request.get(other) for request in server.requests] == [None, 256, 256]


async def test_health(server: ScriptedServer, caller: Caller) -> None:
    assert await caller.upstream.check_health() is None


async def test_logs_contain_the_run_id_and_no_key(
    server: ScriptedServer, caller: Caller, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.script(errors(500, f"who is {KEY}"), *[errors(401, f"what is {KEY}")])
    with (
        structlog.contextvars.bound_contextvars(run_id="run_1"),
        capture_logs(processors=[structlog.contextvars.merge_contextvars]) as logs,
    ):
        await failure(caller)
    assert [(line["event"], line["run_id"]) for line in logs] == [
        ("model_call_retried", "run_1"),
        ("model_call_failed", "run_1"),
    ]
    assert KEY not in str(logs)
    assert KEY not in caplog.text
    assert KEY not in repr(caller.route)


async def test_chunks_without_events_restart_the_time_out(
    server: ScriptedServer, caller_of: Callable[..., Caller]
) -> None:
    """Reasoning gives no events, but shows that the server works."""
    said = says("a")
    server.script(said.with_frames(chunk({"reasoning_content": "hm"}), "gate:thinking", *said.frames))
    caller = caller_of(timeouts=LONG)
    task = asyncio.create_task(caller.call())
    await server.wait_for_gate("thinking")
    server.open_gate("thinking")
    assert (await task)[0] == TextDelta("a")
