"""The server stops: streams end with a last frame and a whole body, and kept-alive connections are closed in order."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest

from service.http import shutdown
from service.http.shutdown import STOPPING
from tests.client import Answer, Client, Frame
from tests.conftest import StartServer
from tests.http.helpers import assistant_with, thread_with
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
        frames, answer = await following
        assert b"event: thread.run.in_progress" in await viewing
    assert frames[-1].event == "error"
    assert frames[-1].data["error"]["message"] == STOPPING
    assert (answer.status, answer.headers["Connection"]) == (200, "close")


async def _stream_then_ask(client: Client, path: str, body: Any) -> tuple[list[Frame], Answer]:
    """Returns the frames of a run's stream, and the answer to a request after its end."""
    return await client.frames(path, body), await client.call("GET", "/assistants")


async def _body(client: Client, url: str) -> bytes:
    async with client.session.get(url) as response:
        return await response.read()
