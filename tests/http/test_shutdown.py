"""The server stops: streams end with a last frame and a whole body, and kept-alive connections are closed in order."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest

from service.http import shutdown
from service.http.run_stream import STOPPED
from tests.client import Answer, Client
from tests.conftest import StartServer
from tests.http.helpers import assistant_with, run_of, said_by, thread_with
from tests.http.test_thread_stream import token_for
from tests.scripted import ScriptedServer, says


@pytest.mark.slow
async def test_a_stop_ends_streams_and_closes_kept_alive_connections(
    start_server: StartServer, model: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutdown, "DRAIN_S", 10.0)
    model.script(says("one two three").waits("middle", before=2))
    async with AsyncExitStack() as stack:
        async with start_server() as client:
            other = await stack.enter_async_context(Client(client.base_url))
            assistant, thread = await assistant_with(client), await thread_with(client, "Hi")
            viewed = (await token_for(client, thread))["url"]
            viewing = asyncio.create_task(_body(other, viewed))
            path, body = f"/threads/{thread['id']}/runs", {"assistant_id": assistant["id"], "stream": True}
            following = asyncio.create_task(_stream_then_ask(other, path, body))
            await model.wait_for_gate("middle")
            await other.get("/assistants")  # its connection is kept alive
        body_of_run, answer = await following
        assert b"event: thread.run.in_progress" in await viewing
    assert body_of_run.endswith(STOPPED)
    assert b"event: error" not in body_of_run
    assert (answer.status, answer.headers["Connection"]) == (200, "close")


@pytest.mark.slow
async def test_a_stop_gives_runs_back_before_requests_have_ended(
    start_server: StartServer, model: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process continues the run while a client of the first one is still connected."""
    monkeypatch.setattr(shutdown, "DRAIN_S", 60.0)
    model.script(says("Never read").waits("first"), says("Whole"))
    async with AsyncExitStack() as stack:
        other = await stack.enter_async_context(start_server())
        async with AsyncExitStack() as first:
            client = await first.enter_async_context(start_server())
            kept = await stack.enter_async_context(Client(client.base_url))
            await kept.get("/assistants")
            run = await run_of(client, "Hi")
            await model.wait_for_gate("first")
            stop = asyncio.create_task(first.aclose())
            done = await other.settled(run)
            assert not stop.done()
            await kept.call("GET", "/assistants")  # which closes the last connection
            await stop
        assert done["status"] == "completed"
        assert await said_by(other, run) == ["Whole"]


async def _stream_then_ask(client: Client, path: str, body: Any) -> tuple[bytes, Answer]:
    """Returns the body of a run's stream, and the answer to a request after its end."""
    async with client.session.post(client.base_url + path, json=body, headers=client.headers) as response:
        text = await response.read()
    return text, await client.call("GET", "/assistants")


async def _body(client: Client, url: str) -> bytes:
    async with client.session.get(url) as response:
        return await response.read()
