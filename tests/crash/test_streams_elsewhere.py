"""Watchers of a run that is at work in another server process: they see its deltas, also across its death."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from sql.connection import Connection
from tests.client import Client
from tests.crash.conftest import Start
from tests.http.helpers import assistant_with, thread_with
from tests.http.test_thread_stream import Source, names, source, text_of, token_for
from tests.scripted import ScriptedServer, says

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PIECES = ["one", " two", " three", " four"]


async def follow_elsewhere(stack: AsyncExitStack, url: str, other: Client, last: str | None = None) -> Source:
    """Opens the stream at `url` on the process of the client `other`."""
    elsewhere = f"{other.base_url}{url.split('/v1', 1)[1]}"
    return await stack.enter_async_context(source(elsewhere, last))


async def test_deltas_reach_watchers_on_another_process(start: Start, model: ScriptedServer, db: Connection) -> None:
    reply = says("one two three four", pieces=PIECES).waits("second", before=2).waits("fourth", before=5)
    model.script(reply)
    async with AsyncExitStack() as stack:
        one = (await stack.enter_async_context(start())).client
        two = (await stack.enter_async_context(start())).client
        assistant, thread = await assistant_with(one), await thread_with(one, "Hi")
        token = (await token_for(one, thread))["token"]
        run = await one.post(f"/threads/{thread['id']}/runs", {"assistant_id": assistant["id"]})
        await model.wait_for_gate("second")
        assert await db.fetchval("SELECT count(*) FROM live_deltas") == 0, "nobody watches elsewhere"
        url = f"{one.base_url}/threads/{thread['id']}/runs/{run['id']}/stream?token={token}"
        watched = await follow_elsewhere(stack, url, two)
        begun = await watched.until("thread.message.delta")
        assert text_of(begun) == "one"
        model.open_gate("second")
        seen = begun
        while text_of(seen) != "one two three":
            seen = [*seen, *await watched.until("thread.message.delta")]
        resumed = await follow_elsewhere(stack, url, two, begun[-1][0])
        assert text_of(await resumed.until("thread.message.delta")) == " two three"
        model.open_gate("fourth")
        rest = await watched.until("done")
        assert text_of(seen + rest) == "one two three four"
        assert names(rest)[-1] == "done"
        assert text_of(await resumed.until("done")) == " four"
        async with asyncio.timeout(60):
            while await db.fetchval("SELECT count(*) FROM live_deltas"):
                await asyncio.sleep(0.05)


async def test_watchers_elsewhere_see_the_next_attempt_of_a_run_whose_process_dies(
    start: Start, model: ScriptedServer, db: Connection
) -> None:
    broken = says("one two", pieces=["one", " two"]).waits("broken", before=2)
    model.script(broken, says("three four", pieces=["three", " four"]).waits("again", before=2))
    async with AsyncExitStack() as stack:
        dying = await stack.enter_async_context(start())
        two = (await stack.enter_async_context(start())).client
        assistant, thread = await assistant_with(two), await thread_with(two, "Hi")
        token = (await token_for(two, thread))["token"]
        run = await dying.client.post(f"/threads/{thread['id']}/runs", {"assistant_id": assistant["id"]})
        url = f"{two.base_url}/threads/{thread['id']}/runs/{run['id']}/stream?token={token}"
        watched = await stack.enter_async_context(source(url))
        seen = await watched.until("thread.message.delta")
        assert text_of(seen) == "one"
        await dying.kill()
        ended = await watched.until("thread.run.step.failed")
        assert names(ended) == ["message.incomplete", "run.step.failed"]
        again = await watched.until("thread.message.delta")
        assert text_of(again) == "three"
        model.open_gate("again")
        rest = await watched.until("done")
        assert names(rest) == ["message.completed", "run.step.completed", "run.completed", "done"]
        assert text_of(again + rest) == "three four"
        messages = [data["id"] for _, event, data in (*seen, *again) if event == "thread.message.created"]
        assert len(set(messages)) == 2
        async with asyncio.timeout(60):
            while await db.fetchval("SELECT count(*) FROM live_deltas"):
                await asyncio.sleep(0.05)
