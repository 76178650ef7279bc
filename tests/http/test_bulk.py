"""The deletion of many threads, and the cancelling of many runs."""

from __future__ import annotations

from typing import Any

import pytest

from service.cli import admin
from service.database import Pool
from tests.client import Client
from tests.clock import IDS, WallClock
from tests.http.helpers import run_of
from tests.http.keys import as_key, writer
from tests.scripted import ScriptedServer, calls

WEATHER = {"type": "function", "function": {"name": "weather"}}


async def threads_of(client: Client, count: int, **metadata: str) -> list[str]:
    return [(await client.post("/threads", {"metadata": metadata}))["id"] for _ in range(count)]


async def listed(client: Client) -> set[str]:
    return {thread["id"] for thread in (await client.get("/threads", limit="100"))["data"]}


async def delete(client: Client, **body: Any) -> Any:
    return await client.post("/threads/bulk_delete", body)


async def test_threads_are_deleted_in_pages(client: Client, pool: Pool, wall: WallClock) -> None:
    await admin.create_project(writer(pool), "Theirs", ids=IDS)
    async with await as_key(client, pool, "Theirs") as them:
        theirs = await threads_of(them, 2, env="test")
        ours, kept = await threads_of(client, 5, env="test"), await threads_of(client, 1, env="live")
        wall.skip(5)
        tried = await delete(client, metadata={"env": "test"}, dry_run=True)
        assert (tried["matching"], tried["thread_ids"], tried["has_more"]) == (5, ours, False)
        assert await listed(client) == {*ours, *kept}
        first = await delete(client, metadata={"env": "test"}, limit=2)
        assert (first["matching"], first["thread_ids"], first["has_more"]) == (5, ours[:2], True)
        second = await delete(client, metadata={"env": "test"}, created_at={"lt": first["created_before"]})
        assert (second["thread_ids"], second["has_more"]) == (ours[2:], False)
        assert await listed(client) == {*kept}
        assert (await delete(client, all=True))["thread_ids"] == kept
        assert await listed(them) == {*theirs}, "another project's"
    assert (await client.call("GET", f"/threads/{ours[0]}")).status == 404


async def test_threads_of_this_second_are_left_out(client: Client, wall: WallClock) -> None:
    [thread_id] = await threads_of(client, 1)
    created = (await client.get(f"/threads/{thread_id}"))["created_at"]
    found = await delete(client, all=True, created_at={"lt": created})
    assert found["thread_ids"] == []
    wall.skip(5)
    assert (await delete(client, created_at={"gte": created, "lte": created}))["thread_ids"] == [thread_id]


async def test_a_repeated_request_has_its_answer(client: Client, wall: WallClock) -> None:
    ids = await threads_of(client, 2)
    wall.skip(5)
    headers = {"Idempotency-Key": "b1"}
    first = await client.call("POST", "/threads/bulk_delete", {"all": True, "limit": 1}, headers=headers)
    again = await client.call("POST", "/threads/bulk_delete", {"all": True, "limit": 1}, headers=headers)
    assert first.body == again.body
    assert await listed(client) == {ids[1]}


async def test_runs_are_cancelled(client: Client, model: ScriptedServer) -> None:
    model.script(*(calls(("weather", {})) for _ in range(3)))
    runs = [await client.settled(await run_of(client, "Hi", tools=[WEATHER])) for _ in range(3)]
    pairs = {(run["thread_id"], run["id"]) for run in runs}

    async def cancel(**body: Any) -> tuple[int, set[tuple[str, str]], bool]:
        found = await client.post("/threads/bulk_cancel", body)
        return found["matching"], {(run["thread_id"], run["run_id"]) for run in found["runs"]}, found["has_more"]

    assert await cancel(all=True, dry_run=True) == (3, pairs, False)
    assert await cancel(statuses=["in_progress"]) == (0, set(), False)
    one = runs[0]
    assert await cancel(thread_ids=[one["thread_id"]]) == (1, {(one["thread_id"], one["id"])}, False)
    matching, found, more = await cancel(statuses=["requires_action"], limit=1)
    assert (matching, len(found), more) == (2, 1, True)
    assert (await cancel(all=True))[0] == 1
    for run in runs:
        assert (await client.settled(run))["status"] == "cancelled"
    assert await cancel(all=True) == (0, set(), False)


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("bulk_delete", {}, "all"),
        ("bulk_delete", {"dry_run": True}, "all"),
        ("bulk_delete", {"metadata": {}}, "all"),
        ("bulk_delete", {"all": True, "limit": 101}, "limit"),
        ("bulk_delete", {"all": True, "limit": 0}, "limit"),
        ("bulk_delete", {"created_at": {"lt": "x"}}, "created_at.lt"),
        ("bulk_delete", {"all": "yes"}, "all"),
        ("bulk_cancel", {}, "all"),
        ("bulk_cancel", {"statuses": []}, "statuses"),
        ("bulk_cancel", {"statuses": ["completed"]}, "statuses[0]"),
        ("bulk_cancel", {"thread_ids": ["thread_1"] * 101}, "thread_ids"),
    ],
)
async def test_wrong_requests_are_refused(client: Client, path: str, body: dict[str, Any], param: str) -> None:
    status, _, named, _ = (await client.call("POST", f"/threads/{path}", body)).error
    assert (status, named) == (400, param)
