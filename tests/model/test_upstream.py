"""One upstream: calls, retries, time-outs, errors, and connections that are really closed."""

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
from service.model.base import ChatRequest, Finished, ModelUsage, TextDelta, ToolCallDelta
from service.model.upstream import Timeouts
from tests.clock import LoopClock
from tests.model.conftest import KEY, REQUEST, Caller, failure
from tests.scripted import ScriptedServer, calls, chunk, errors, hangs, says

LONG = Timeouts(connect=60, first_token=60, between=60)


async def test_a_call_asks_for_what_it_was_given(server: ScriptedServer, caller: Caller) -> None:
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
    assert events == [TextDelta("a"), TextDelta(" b"), Finished("stop", ModelUsage(4, 2), "scripted")]
    assert await server.received() == {
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


async def test_tool_calls_come_whole(server: ScriptedServer, caller: Caller) -> None:
    server.script(calls(("f", {"a": 1}), text="Let me see"))
    events = await caller.call()
    assert "".join(e.arguments for e in events if isinstance(e, ToolCallDelta)) == '{"a":1}'
    assert isinstance(events[-1], Finished)
    assert events[-1].reason == "tool_calls"


async def test_events_come_as_they_are_said(server: ScriptedServer, caller: Caller) -> None:
    server.script(says("a b").waits("middle", before=2))
    stream = caller.upstream.stream(caller.route, REQUEST)
    assert await anext(stream) == [TextDelta("a")]
    server.open("middle")
    rest = [event async for batch in stream for event in batch]
    assert rest[0] == TextDelta(" b")


async def test_connections_are_used_again(server: ScriptedServer, caller: Caller) -> None:
    for _ in range(3):
        await caller.call()
    assert server.connections == 1


async def test_an_end_that_never_comes_does_not_hold_the_answer(server: ScriptedServer, caller: Caller) -> None:
    reply = says("a")
    server.script(reply.hangs_after(len(reply.frames)))
    assert isinstance((await caller.call())[-1], Finished)
    await server.disconnected()


async def test_a_server_that_answers_with_one_document(server: ScriptedServer, caller: Caller) -> None:
    whole = b'{"choices":[{"message":{"content":"all"},"finish_reason":"stop"}]}'
    server.script(errors(200, whole.decode()))
    assert await caller.call() == [TextDelta("all"), Finished("stop", None, "upstream-name")]


async def test_closing_the_generator_stops_the_call(server: ScriptedServer, caller: Caller) -> None:
    server.script(hangs(after=2))
    stream = caller.upstream.stream(caller.route, REQUEST)
    assert await anext(stream)
    await stream.aclose()
    await server.disconnected()


@pytest.mark.parametrize("reply", [hangs(after=2), hangs(), says("x").holds("never")])
async def test_cancelling_the_reader_stops_the_call(server: ScriptedServer, caller: Caller, reply: Any) -> None:
    server.script(reply)
    task = asyncio.create_task(caller.call())
    await server.received()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await server.disconnected()


@pytest.mark.parametrize("reply", [says("x").holds("never"), hangs(after=0), hangs(after=0).raw(b": ping\n\n", "hang")])
async def test_the_first_token_has_its_time(
    clock: LoopClock, server: ScriptedServer, caller_of: Callable[..., Caller], reply: Any
) -> None:
    server.script(reply)
    caller = caller_of(timeouts=LONG)
    failed = asyncio.create_task(failure(caller))
    await server.received()
    clock.skip(LONG.first_token)
    error = await failed
    assert (error.code, error.message) == ("server_error", "The model server gave no first token within 60 s.")
    await server.disconnected()
    assert len(server.requests) == 1


@pytest.mark.parametrize("after", [1, 2])
async def test_the_time_between_tokens(server: ScriptedServer, caller_of: Callable[..., Caller], after: int) -> None:
    server.script(hangs(after=after))
    caller = caller_of(timeouts=Timeouts(60, first_token=60, between=0.05))
    error = await failure(caller)
    assert (error.code, error.message) == ("server_error", "The model server gave no next token within 0.05 s.")
    await server.disconnected()


async def test_a_slow_reader_is_not_a_slow_server(
    clock: LoopClock, server: ScriptedServer, caller_of: Callable[..., Caller]
) -> None:
    """Time that passes while nobody asks for the next batch does not count."""
    server.script(says("a b").waits("middle", before=2))
    caller = caller_of(timeouts=LONG)
    stream = caller.upstream.stream(caller.route, REQUEST)
    assert await anext(stream)
    clock.skip(LONG.first_token + LONG.between)
    server.open("middle")
    assert [event async for batch in stream for event in batch]


async def test_nobody_listens(caller_of: Callable[..., Caller]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        caller = caller_of(base_url=f"http://127.0.0.1:{taken.getsockname()[1]}/v1")
        error = await failure(caller)
        assert error.code == "server_error"
        assert error.message.startswith("The model server cannot be reached: ")
        assert len(caller.slept) == retry.MAX_ATTEMPTS - 2  # the second attempt comes at once
        assert "cannot be reached" in (await caller.upstream.healthy() or "")


async def test_a_connection_has_its_time(caller_of: Callable[..., Caller]) -> None:
    with socket.socket() as full:  # a listener that accepts nothing, its backlog full
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        others = [socket.socket() for _ in range(4)]
        for other in others:
            other.setblocking(False)
            other.connect_ex(full.getsockname())
        caller = caller_of(base_url=f"http://127.0.0.1:{full.getsockname()[1]}/v1", timeouts=Timeouts(0.05, 5, 5))
        assert "cannot be reached" in (await failure(caller)).message
        for other in others:
            other.close()


async def test_a_server_without_stream_options(server: ScriptedServer, caller: Caller) -> None:
    server.script(errors(400, {"error": {"message": "Extra inputs are not permitted: stream_options"}}))
    await caller.call()
    await caller.call()
    assert ["stream_options" in request for request in server.requests] == [True, False, False]
    assert caller.slept == []


@pytest.mark.parametrize("first", ["max_tokens", "max_completion_tokens"])
async def test_the_limit_by_its_other_name(
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
    assert await caller.upstream.healthy() is None


async def test_logs_hold_the_runs_id_and_no_key(
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


async def test_a_mid_stream_chunk_is_a_sign_of_life(server: ScriptedServer, caller_of: Callable[..., Caller]) -> None:
    """Thoughts that we do not show are no events, and still the server works."""
    said = says("a")
    server.script(said.raw(chunk({"reasoning_content": "hm"}), "gate:thinking", *said.frames))
    caller = caller_of(timeouts=LONG)
    task = asyncio.create_task(caller.call())
    await server.reached("thinking")
    server.open("thinking")
    assert (await task)[0] == TextDelta("a")
