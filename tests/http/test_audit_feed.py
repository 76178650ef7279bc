"""GET /v1/audit/events: pages, filters and streams, for the keys of auditors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Any

import aiohttp
import orjson
import pytest

from service.audit.restores import EPOCH_INDEXES
from service.cli import admin
from service.database import Pool
from sql.connection import Connection
from tests.client import Client
from tests.clock import IDS
from tests.conftest import StartServer
from tests.http.helpers import assistant_with, thread_with
from tests.http.keys import as_key, writer
from tests.sealed import opened

PATH = "/audit/events"
WAIT_S = 60.0


@asynccontextmanager
async def watch(client: Client, last: str | None = None, **query: str) -> AsyncIterator[AsyncIterator[Any]]:
    """Opens a stream and yields an iterator over its events."""
    headers = {"Authorization": client.headers["Authorization"]}
    if last is not None:
        headers["Last-Event-ID"] = last
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{client.base_url}{PATH}", params={"stream": "true", **query}, headers=headers) as response,
    ):
        assert response.status == 200

        async def events() -> AsyncIterator[Any]:
            name = sent = None
            async for line in response.content:
                if line.startswith(b"id: "):
                    sent = int(line[4:])
                elif line.startswith(b"event: "):
                    name = line[7:].strip()
                elif line.startswith(b"data: "):
                    event = orjson.loads(line[6:])
                    if event["object"] == "audit.event":
                        assert (name, sent) == (b"audit.event", event["index"])
                    else:
                        assert (name, sent) == (event["object"].encode(), None)
                    yield event

        yield events()


async def wait_for(client: Client, count: int, **query: str) -> list[Any]:
    """Returns the first `count` events that the query lets through, as soon as they are in the log."""
    async with asyncio.timeout(WAIT_S), watch(client, **query) as events:
        return [await anext(events) for _ in range(count)]


async def page(client: Client, **query: str) -> Any:
    answer = await client.call("GET", PATH, headers=None, **query)
    assert answer.status == 200, answer.body
    return answer.body


async def test_events_of_a_thread_in_order(client: Client, pool: Pool) -> None:
    thread = await thread_with(client, "Secret words")
    async with await as_key(client, pool, scope="audit") as auditor:
        streamed = await wait_for(auditor, 2, stream_id=thread["id"])
        async with asyncio.timeout(WAIT_S):
            # The facts about the client are written up to a second later than the event.
            while "address" not in (found := await page(auditor, stream_id=thread["id"]))["data"][0]["client"]:
                await asyncio.sleep(0.005)
    assert [event["leaf"] for event in found["data"]] == [event["leaf"] for event in streamed]
    assert (found["has_more"], found["last_index"]) == (False, streamed[-1]["index"])
    assert found["log_size"] > streamed[-1]["index"]
    created, added = found["data"]
    assert (created["type"], added["type"]) == ("thread.created", "message.added")
    assert (created["version"], added["version"], added["index"]) == (1, 2, created["index"] + 1)
    assert (created["actor"], created["project_id"]) == ("key:default", "proj_default")
    assert created["request_id"].startswith("req_")
    assert created["client"]["address"] == "127.0.0.1"
    assert "Secret words" not in str(found), "contents need another scope"
    [row] = await pool.fetch("SELECT leaf, commitment FROM events WHERE stream_id = $1 AND version = 2", thread["id"])
    assert (added["leaf"], added["commitment"]) == (row["leaf"].hex(), row["commitment"].hex())


async def test_contents_prove_themselves(client: Client, pool: Pool) -> None:
    thread = await thread_with(client, "Secret words")
    async with await as_key(client, pool, scope="audit:content") as auditor:
        await wait_for(auditor, 2, stream_id=thread["id"])
        found = await page(auditor, stream_id=thread["id"], include="content")
    added = found["data"][1]
    assert "Secret words" in str(added["content"])
    query = opened("SELECT stream_id, version, content FROM events WHERE stream_id = $1 AND version = 2", "events")
    content = await pool.fetchval(query, thread["id"])
    assert content[:32].hex() == added["salt"]
    assert sha256(b"everthread/commitment/1\n" + content).hexdigest() == added["commitment"]
    assert (await page(client, stream_id=thread["id"], include="content"))["data"] == found["data"], "full includes it"


async def test_scopes_and_projects(client: Client, pool: Pool) -> None:
    ours = await thread_with(client, "Hi")
    await admin.create_project(writer(pool), "Theirs", ids=IDS)
    async with (
        await as_key(client, pool, scope="read") as reader,
        await as_key(client, pool, scope="audit") as auditor,
        await as_key(client, pool, "Theirs") as them,
        await as_key(client, pool, "all", scope="audit") as everyone,
    ):
        theirs = await thread_with(them, "Hi")
        await wait_for(everyone, 2, stream_id=ours["id"])
        await wait_for(everyone, 2, stream_id=theirs["id"])
        assert (await reader.call("GET", PATH)).status == 403
        refused = await auditor.call("GET", PATH, include="content")
        assert (refused.status, "audit:content" in refused.error[1]) == (403, True)
        assert (await page(auditor, stream_id=theirs["id"]))["data"] == []
        assert (await page(them, stream_id=ours["id"]))["data"] == []
        project = (await page(them, stream_id=theirs["id"]))["data"][0]["project_id"]
        assert (await auditor.call("GET", PATH, project_id=project)).status == 403
        assert {event["project_id"] for event in (await page(everyone, project_id=project))["data"]} == {project}
        assert (await page(everyone, stream_id="installation"))["data"][0]["type"] == "installation.created"


async def test_a_reader_that_is_ahead_of_a_restored_log(start_server: StartServer, pool: Pool, db: Connection) -> None:
    """It read events that the restore removed. It goes on with the new epoch, and learns that they were lost."""
    async with start_server() as client:
        thread = await thread_with(client, "Hi")
        seen = (await wait_for(client, 2, stream_id=thread["id"]))[-1]["index"]
        assert ((found := await page(client))["epoch"], found["lost_from"]) == (1, None)
    end = await db.fetchval("SELECT max(first_index + count) FROM log_ranges")
    cursor = str(end + 100)
    async with start_server(restored="The disk failed.") as client:
        async with await as_key(client, pool, "all", scope="audit") as auditor:
            async with asyncio.timeout(WAIT_S), watch(auditor, last=cursor) as events:
                lost = await anext(events)
                assert lost == {"object": "audit.events_lost", "lost_from": end, "after": end + 100, "epoch": 2}
                begun = await anext(events)
            assert (begun["type"], begun["index"]) == ("epoch.begun", EPOCH_INDEXES)
            found = await page(auditor, after=cursor)
        assert (found["data"][0], found["lost_from"], found["epoch"]) == (begun, end, 2)
        assert found["log_size"] < EPOCH_INDEXES, "a number of events"
        assert (await page(client, after=str(seen)))["lost_from"] is None
        assert (await page(client, after=cursor))["lost_from"] == end, "a key of one project does not see the event"


async def test_filters(client: Client, pool: Pool) -> None:
    thread, assistant = await thread_with(client, "Hi"), await assistant_with(client)
    events = await wait_for(client, 2, stream_id=thread["id"])
    await wait_for(client, 1, stream_id=assistant["id"])

    async def streams(**query: str) -> set[str]:
        return {event["stream_id"] for event in (await page(client, **query))["data"]}

    assert await streams(type="assistant.created") == {assistant["id"]}
    assert await streams(request_id=events[0]["request_id"]) == {thread["id"]}
    assert {thread["id"], assistant["id"]} <= await streams(actor="key:default")
    assert await streams(actor="key:other") == set()
    both = [event["type"] for event in (await page(client, type="message.added", stream_id=thread["id"]))["data"]]
    assert both == ["message.added"], "an append may have events of other types"
    assert await streams(since="2999-01-01T00:00:00Z") == await streams(until="1000000000") == set()
    assert thread["id"] in await streams(since=events[0]["at"], until="2999-01-01T00:00:00+01:00")


async def test_the_cursor_misses_nothing(client: Client) -> None:
    thread = await thread_with(client, "one", "two", "three")
    whole = await wait_for(client, 4)
    pages, after = [], "-1"
    while True:
        found = await page(client, after=after, limit="1")
        pages += found["data"]
        if not found["has_more"]:
            break
        after = str(found["last_index"])
    assert pages[: len(whole)] == whole
    indexes = [event["index"] for event in pages]
    assert indexes == sorted(set(indexes))
    async with asyncio.timeout(WAIT_S), watch(client, last=str(whole[1]["index"])) as events:
        assert await anext(events) == whole[2]
    assert (await page(client, stream_id=thread["id"], after=str(pages[-1]["index"])))["data"] == []


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "1001"}, "limit"),
        ({"after": "x"}, "after"),
        ({"after": "-2"}, "after"),
        ({"after": "9" * 30}, "after"),
        ({"since": "yesterday"}, "since"),
        ({"until": "2026-11-28T12:00:00"}, "until"),
        ({"include": "everything"}, "include"),
        ({"stream": "yes"}, "stream"),
        ({"stream_id": "\x00"}, "stream_id"),
        ({"streamid": "thread_1"}, "streamid"),
    ],
)
async def test_wrong_queries_are_refused(client: Client, query: dict[str, str], param: str) -> None:
    answer = await client.call("GET", PATH, headers=None, **query)
    assert (answer.status, answer.error[2]) == (400, param)
