"""GET /v1/threads with words, an assistant and a status."""

from __future__ import annotations

import asyncio
from urllib.parse import urlencode

import pytest

from service.cli import admin
from service.database import Pool
from tests.browser.sample import run_to_end
from tests.client import V1, V2, Client
from tests.clock import IDS
from tests.fake_search_engine import WAIT_S
from tests.http.helpers import assistant_with, thread_with
from tests.http.keys import as_key, writer
from tests.http.stores import POLL
from tests.http.test_filters import found
from tests.scripted import ScriptedServer, errors, says


async def follow(client: Client, wanted: list[str], **query: str) -> None:
    """Waits until the follower of the log has come so far that the query finds these threads, the oldest first."""
    async with asyncio.timeout(WAIT_S):
        while await found(client, **query) != wanted:
            await asyncio.sleep(POLL)


@pytest.mark.parametrize("beta", [V1, V2])
async def test_threads_are_found_by_words(client: Client, beta: str) -> None:
    client.headers["OpenAI-Beta"] = beta
    one, two = await thread_with(client, "The parcel arrives tomorrow"), await thread_with(client, "Parcels are late")
    other = await thread_with(client, "Hello")
    await client.post(f"/threads/{two['id']}", {"metadata": {"user": "ann"}})
    await follow(client, [one["id"], two["id"]], query="parcel")
    await follow(client, [other["id"]], query="hello")
    page = await client.get("/threads", query="parcel", limit="1")
    assert (page["data"], page["has_more"]) == ([await client.get(f"/threads/{two['id']}")], True)
    assert await found(client, query="parcel", after=one["id"]) == [two["id"]]
    assert await found(client, query="parcel", **{"metadata[user]": "ann"}) == [two["id"]]
    assert await found(client, query="parcel", **{"created_at[lt]": str(one["created_at"])}) == []
    assert await found(client, query="parcel unicorn") == await found(client, query="?!") == []
    assert len(await found(client, query="")) == 3, "an empty parameter is none"
    await client.delete(f"/threads/{one['id']}")
    await follow(client, [two["id"]], query="parcel")


async def test_threads_are_found_by_the_assistant_and_the_status_of_runs(client: Client, model: ScriptedServer) -> None:
    guide, clerk = await assistant_with(client, name="Guide"), await assistant_with(client, name="Clerk")
    model.script(says("Fine, the zebra sleeps."), errors(401), says("Done."))
    good, bad = await thread_with(client, "Hello"), await thread_with(client, "Hello")
    for thread, assistant in ((good, guide), (bad, guide)):
        await run_to_end(client, thread, assistant)
    await follow(client, [good["id"]], status="completed")
    await follow(client, [bad["id"]], status="failed")
    await follow(client, [good["id"]], query="zebras")
    assert await found(client, assistant_id=guide["id"]) == [good["id"], bad["id"]]
    assert await found(client, assistant_id=guide["id"], status="failed") == [bad["id"]]
    assert await found(client, assistant_id=clerk["id"]) == []
    await run_to_end(client, bad, clerk)
    await follow(client, [good["id"], bad["id"]], status="completed")
    assert await found(client, status="failed") == []
    assert await found(client, assistant_id=guide["id"], query="hello", limit="1") == [good["id"]]


async def test_invalid_conditions_are_refused(client: Client) -> None:
    for query, code in (
        ({"query": "x" * 257}, "string_above_max_length"),
        ({"status": "done"}, "invalid_value"),
        ({"querry": "x"}, "unknown_parameter"),
        ({"query": "x", "at": "2026-01-01"}, "unknown_parameter"),
    ):
        answer = await client.call("GET", f"/threads?{urlencode(query)}")
        assert (answer.status, answer.error[3]) == (400, code), query
    assert (await client.call("GET", "/threads", query="a\0b")).status == 400


async def test_projects_do_not_find_each_others_threads(client: Client, pool: Pool) -> None:
    await admin.create_project(writer(pool), "Theirs", ids=IDS)
    async with await as_key(client, pool, "Theirs") as them, await as_key(client, pool, scope="read") as reader:
        ours, theirs = await thread_with(client, "A secret pearl"), await thread_with(them, "A stolen pearl")
        await follow(them, [theirs["id"]], query="pearl")
        await follow(client, [ours["id"]], query="pearl")
        assert await found(reader, query="pearl") == [ours["id"]]
        assert await found(them, query="secret") == []
