"""Many requests at once on a healthy database: none is refused up to the bound, and beyond it early and with reason."""

from __future__ import annotations

import asyncio

import pytest

from service import database
from service.database import connection_queue
from tests.client import Answer, Client
from tests.conftest import StartServer
from tests.http.helpers import assistant_with
from tests.scripted import ScriptedServer, says

BURST = 100
HI = {"messages": [{"role": "user", "content": "Hi"}]}


@pytest.mark.slow
async def test_no_stream_of_a_burst_is_refused(
    start_server: StartServer, model: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Together the requests wait much longer than the patience for a database that hangs."""
    monkeypatch.setattr(database, "POOL_MAX", 2)
    monkeypatch.setattr(connection_queue, "ACQUIRE_TIMEOUT", 1.0)
    model.script(*(says("Fine") for _ in range(BURST)))
    async with start_server() as client:
        body = {"assistant_id": (await assistant_with(client))["id"], "thread": HI, "stream": True}
        streams = await asyncio.gather(*(client.frames("/threads/runs", body) for _ in range(BURST)))
        assert [[frame.event for frame in frames][-2:] for frames in streams] == [
            ["thread.run.completed", "done"]
        ] * BURST


async def test_requests_beyond_the_bound_are_refused_at_once(
    start_server: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "POOL_MAX", 2)
    monkeypatch.setattr(connection_queue, "MAX_WAITING", 1)
    async with start_server() as client:
        answers = await asyncio.gather(*(_create(client) for _ in range(20)))
        refused = [answer for answer in answers if answer.status != 200]
        assert 0 < len(refused) < len(answers)
        for answer in refused:
            assert answer.error[:2] == (
                503,
                "The server is busy: 1 requests wait for the database. Please try again.",
            )
            assert answer.headers["Retry-After"] == "1"


async def _create(client: Client) -> Answer:
    return await client.call("POST", "/threads", HI)
