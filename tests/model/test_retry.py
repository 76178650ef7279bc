"""Which failures are retried, and after how long."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from service.model import retry
from service.model.base import ModelError, ModelStreamEnd, TextDelta
from service.model.retry import backoff, retry_after
from tests.model.conftest import REQUEST, Caller, failure
from tests.scripted import ScriptedServer, breaks_after, drops, errors, says


@pytest.mark.parametrize("broken", [errors(500), errors(429), errors(408), breaks_after(1), breaks_after(0)])
async def test_retries_before_the_first_event(server: ScriptedServer, caller: Caller, broken: Any) -> None:
    server.script(broken, broken, says("a", usage=False))
    assert await caller.call() == [TextDelta("a"), ModelStreamEnd("stop", None, "scripted")]
    assert len(caller.slept) == 2
    assert 0.25 <= caller.slept[0] <= 0.5 <= caller.slept[1] <= 1.0


async def test_a_dropped_connection_is_replaced_at_once(server: ScriptedServer, caller: Caller) -> None:
    """This happens once: after that, a server on this machine is asked to close each connection."""
    server.script(drops(), says("a", usage=False), says("b", usage=False), drops(), drops())
    assert await caller.call() == [TextDelta("a"), ModelStreamEnd("stop", None, "scripted")]
    assert await caller.call() == [TextDelta("b"), ModelStreamEnd("stop", None, "scripted")]
    assert caller.slept == []
    assert [headers.get("Connection") == "close" for headers in server.headers] == [False, True, True]
    await caller.call()
    assert len(caller.slept) == 1


async def test_attempts_are_bounded(server: ScriptedServer, caller: Caller) -> None:
    server.script(*[errors(503)] * retry.MAX_ATTEMPTS, says("never"))
    error = await failure(caller)
    assert (error.code, error.message) == ("server_error", "The model server failed (503): scripted error 503")
    assert (len(server.requests), server.unused_count()) == (retry.MAX_ATTEMPTS, 1)


async def test_nothing_is_retried_after_the_first_event(server: ScriptedServer, caller: Caller) -> None:
    server.script(breaks_after(2))
    stream = caller.upstream.stream(caller.route, REQUEST)
    assert await anext(stream) == [TextDelta("This")]
    with pytest.raises(ModelError) as caught:
        await anext(stream)
    assert caught.value.code == "server_error"
    assert caught.value.message.startswith("The connection to the model server broke")
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("headers", "slept"),
    [
        ({"retry-after": "7"}, [7.0]),
        ({"retry-after-ms": "1500", "retry-after": "9"}, [1.5]),
    ],
)
async def test_retry_after_is_honoured(
    server: ScriptedServer, caller: Caller, headers: dict[str, str], slept: list[float]
) -> None:
    server.script(errors(429, headers=headers))
    await caller.call()
    assert caller.slept == slept


@pytest.mark.parametrize(
    "reply",
    [
        errors(429, headers={"retry-after": str(retry.MAX_RETRY_AFTER_S + 1)}),
        errors(429, {"error": {"message": "Pay", "code": "insufficient_quota"}}),
        errors(500, headers={"x-should-retry": "false"}),
        errors(400),
        errors(401),
        errors(404),
        errors(501),
    ],
)
async def test_failures_without_a_retry(server: ScriptedServer, caller: Caller, reply: Any) -> None:
    server.script(reply)
    await failure(caller)
    assert (len(server.requests), caller.slept) == (1, [])


def test_all_forms_of_retry_after() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert retry_after({"retry-after": "Thu, 01 Jan 2026 00:00:09 GMT"}, lambda: now) == 9.0
    assert retry_after({"retry-after": "Wed, 31 Dec 2025 00:00:09 GMT"}, lambda: now) == 0.0
    assert retry_after({"retry-after-ms": "x", "retry-after": "2"}, lambda: now) == 2.0
    for nonsense in ({}, {"retry-after": "soon"}, {"retry-after": "nan"}, {"retry-after": "inf"}):
        assert retry_after(nonsense, lambda: now) is None


def test_backoff_is_bounded_and_jittered() -> None:
    assert all(backoff(n) <= retry.MAX_BACKOFF_S for n in range(1, 50))
    assert len({backoff(1) for _ in range(10)}) > 1
