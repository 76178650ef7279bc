"""Fixtures: a scripted model server, and upstreams that call it without waiting between attempts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from service.model.base import ChatRequest, ModelError, ModelEvent, ModelInfo
from service.model.catalog import Endpoint, ModelRoute
from service.model.request_journal import LimitField
from service.model.router import Router, open_model
from service.model.upstream import Timeouts, Upstream
from tests.clock import CLOCK, IDS, LoopClock
from tests.scripted import ScriptedServer

KEY = "sk-secret-0123456789"
REQUEST = ChatRequest("asked", [{"role": "user", "content": "Hi"}])


def new_call_id() -> str:
    return IDS.new("call")


def open_test_model(*args: Any, **options: Any) -> Router:
    """Opens a model with the clock and the ids of the tests."""
    return open_model(*args, **options, now=CLOCK.now, new_call_id=new_call_id)


class Caller:
    """An upstream that records its waits between attempts in `slept` and does not wait."""

    def __init__(self, base_url: str, timeouts: Timeouts | None = None, limit_field: LimitField = "max_tokens") -> None:
        self.slept: list[float] = []
        endpoint = Endpoint(base_url, KEY)
        self.route = ModelRoute(endpoint, ModelInfo("upstream-name", 8192, "o200k_base", 1.0, True, True), limit_field)
        self.upstream = Upstream(endpoint, timeouts, self._sleep, now=CLOCK.now, new_call_id=new_call_id)

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    async def call(self, request: ChatRequest | None = None) -> list[ModelEvent]:
        """Returns all events of one call."""
        return [event async for batch in self.upstream.stream(self.route, request or REQUEST) for event in batch]


async def failure(caller: Caller, request: ChatRequest = REQUEST) -> ModelError:
    with pytest.raises(ModelError) as caught:
        await caller.call(request)
    assert KEY not in caught.value.message
    return caught.value


@pytest.fixture
async def clock() -> LoopClock:
    return LoopClock(asyncio.get_running_loop())


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer() as server:
        yield server


@pytest.fixture
async def caller_of(server: ScriptedServer) -> AsyncIterator[Callable[..., Caller]]:
    """A function that makes callers: caller_of(timeouts=…, limit_field=…, base_url=…)."""
    callers: list[Caller] = []

    def make(base_url: str | None = None, timeouts: Timeouts | None = None, **more: LimitField) -> Caller:
        callers.append(Caller(base_url or server.base_url, timeouts, **more))
        return callers[-1]

    yield make
    for caller in callers:
        await caller.upstream.close()


@pytest.fixture
def caller(caller_of: Callable[..., Caller]) -> Caller:
    return caller_of()
