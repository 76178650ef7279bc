"""Bounds on open streams of a token, a key and the server. A stream that ends makes room for another."""

from __future__ import annotations

import asyncio
import resource
from contextlib import AsyncExitStack

import pytest

from service.access import stream_limits
from service.database import Pool
from tests.client import WAIT_S, Client
from tests.http.helpers import assistant_with, thread_with
from tests.http.keys import as_key
from tests.http.test_thread_stream import refused, source, token_for
from tests.scripted import ScriptedServer, says


async def room(url: str, **headers: str) -> None:
    """Returns when the stream can be opened."""
    async with asyncio.timeout(WAIT_S):
        while True:
            async with AsyncExitStack() as stack:
                try:
                    await stack.enter_async_context(source(url))
                    return
                except AssertionError:
                    await asyncio.sleep(0.02)


async def test_tokens_of_the_same_second_differ(client: Client) -> None:
    """Each viewer has a limit of its own."""
    thread = await thread_with(client, "Hi")
    assert len({(await token_for(client, thread))["token"] for _ in range(5)}) == 5


@pytest.mark.slow
async def test_of_a_token(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_limits, "MAX_OF_TOKEN", 2)
    thread = await thread_with(client, "Hi")
    url = (await token_for(client, thread))["url"]
    async with source(url), source(url):
        answer = await refused(url)
        assert answer.error[0::3] == (429, "too_many_streams")
        assert answer.error[1].startswith("This token has 2 streams open, the most it may have.")
        assert answer.headers["Retry-After"] == "5"
        async with source((await token_for(client, thread))["url"]):
            pass
    await room(url)


@pytest.mark.slow
async def test_of_a_key(client: Client, pool: Pool, model: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound covers every kind of stream. A run is not created if its stream cannot be opened."""
    monkeypatch.setattr(stream_limits, "MAX_OF_KEY", 1)
    model.script(says("Fine"))
    assistant, thread = await assistant_with(client), await thread_with(client, "Hi")
    path, body = f"/threads/{thread['id']}/runs", {"assistant_id": assistant["id"]}
    async with await as_key(client, pool) as other:
        async with source((await token_for(other, thread))["url"]):
            for at, asked in ((path, body), ("/threads/runs", {**body, "thread": {}})):
                answer = await other.call("POST", at, {**asked, "stream": True})
                assert answer.error[0::3] == (429, "too_many_streams")
                assert "API key key_" in answer.error[1]
            answer = await refused((await token_for(other, thread))["url"])
            assert answer.error[0::3] == (429, "too_many_streams"), "tokens count for their key"
            assert (await client.get(path))["data"] == []
            await client.settled(await other.post(path, body))
        async with source((await token_for(client, thread))["url"]):
            pass


@pytest.mark.slow
async def test_of_the_server(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_limits, "MAX_OF_SERVER", 1)
    thread = await thread_with(client, "Hi")
    async with source((await token_for(client, thread))["url"]):
        answer = await refused((await token_for(client, thread, expires_in=60))["url"])
        assert answer.error[0::3] == (503, "too_many_streams")
        assert int(answer.headers["Retry-After"]) > 0


@pytest.mark.parametrize(
    ("files", "most"),
    [(1024, 512), (1_000_000, stream_limits.MAX_OF_SERVER), (resource.RLIM_INFINITY, stream_limits.MAX_OF_SERVER)],
)
def test_half_of_the_files_that_may_be_open_are_others(monkeypatch: pytest.MonkeyPatch, files: int, most: int) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (files, files))
    assert stream_limits._server_limit() == most


def test_nothing_is_kept_of_what_has_ended() -> None:
    found = stream_limits.StreamLimits()
    with found.reserve("key_1", "token"), found.reserve("key_1", None):
        assert found.count == 2
    assert (found.count, found._open) == (0, {})
