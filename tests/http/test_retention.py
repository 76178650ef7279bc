"""/v1/organization/projects/{id}/retention and /v1/organization/holds."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from service.database import Pool
from tests.client import Client
from tests.http.helpers import thread_with
from tests.http.keys import as_key

POLICY = "/organization/projects/proj_default/retention"
HOLDS = "/organization/holds"


async def place(client: Client, **fields: Any) -> dict[str, Any]:
    body = {"project_id": "proj_default", "reason": "Case 7", **fields}
    made: dict[str, Any] = await client.post(HOLDS, body)
    return made


async def test_a_policy_is_set_rule_by_rule(client: Client) -> None:
    empty = await client.get(POLICY)
    assert (empty["delete_idle_threads_after_days"], empty["keep_threads_for_days"]) == (None, None)
    await client.post(POLICY, {"delete_idle_threads_after_days": 30})
    both = await client.post(POLICY, {"keep_threads_for_days": 184})
    assert (both["delete_idle_threads_after_days"], both["keep_threads_for_days"]) == (30, 184)
    one = await client.post(POLICY, {"delete_idle_threads_after_days": None})
    assert one == await client.get(POLICY)
    assert (one["delete_idle_threads_after_days"], one["keep_threads_for_days"]) == (None, 184)
    for body in ({"keep_threads_for_days": 0}, {"keep_threads_for_days": "9"}, {"keep_threads_for_days": 10**9}):
        assert (await client.call("POST", POLICY, body)).status == 400
    assert (await client.call("GET", "/organization/projects/proj_none/retention")).status == 404


async def test_holds_are_placed_listed_and_ended(client: Client) -> None:
    thread = await thread_with(client, "Hi")
    first = await place(client, thread_id=thread["id"])
    assert (first["status"], first["ended_at"], first["thread_id"]) == ("active", None, thread["id"])
    second = await place(client, metadata={"customer": "7"})
    third = await place(client)
    page = await client.get(HOLDS, limit="2")
    assert ([hold["id"] for hold in page["data"]], page["has_more"]) == ([first["id"], second["id"]], True)
    assert (await client.get(HOLDS, after=second["id"]))["data"] == [third]
    ended = (await client.call("DELETE", f"{HOLDS}/{second['id']}")).body
    assert ended["status"] == "ended"
    assert ended == (await client.call("DELETE", f"{HOLDS}/{second['id']}")).body
    assert ended == await client.get(f"{HOLDS}/{second['id']}")
    assert [hold["id"] for hold in (await client.get(HOLDS))["data"]] == [first["id"], third["id"]]
    assert len((await client.get(HOLDS, include_ended="true", project_id="proj_default"))["data"]) == 3
    assert (await client.get(HOLDS, project_id="proj_other"))["data"] == []


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"thread_id": "thread_none"}, 404),
        ({"project_id": "proj_none"}, 404),
        ({"thread_id": "thread_1", "metadata": {"a": "b"}}, 400),
        ({"metadata": {}}, 400),
        ({"reason": ""}, 400),
        ({"reason": "a\nb"}, 400),
    ],
)
async def test_a_wrong_hold_is_refused(client: Client, fields: dict[str, Any], status: int) -> None:
    body = {"project_id": "proj_default", "reason": "Case 7", **fields}
    assert (await client.call("POST", HOLDS, body)).status == status
    assert (await client.get(HOLDS, include_ended="true"))["data"] == []


async def test_a_repeated_request_places_one_hold(client: Client, pool: Pool) -> None:
    body, headers = {"project_id": "proj_default", "reason": "Case 7"}, {"Idempotency-Key": "hold"}
    first = await client.call("POST", HOLDS, body, headers=headers)
    again = await client.call("POST", HOLDS, body, headers=headers)
    assert first.body == again.body
    assert await pool.fetchval("SELECT count(*) FROM legal_holds") == 1
    assert await pool.fetchval("SELECT count(*) FROM events WHERE type = 'hold.placed'") == 1


@pytest.mark.parametrize("scope", ["full", "read", "audit:content"])
async def test_only_administrators_may(client: Client, pool: Pool, scope: str) -> None:
    async with await as_key(client, pool, scope=scope) as other:
        for method, path in (("GET", HOLDS), ("GET", POLICY)):
            assert (await other.call(method, path)).status == 403


async def test_an_auditor_reads_a_deleted_thread_that_is_held(client: Client, pool: Pool) -> None:
    thread = await thread_with(client, "Hello there")
    path = f"/threads/{thread['id']}"
    hold = await place(client, thread_id=thread["id"])
    version = str(await pool.fetchval("SELECT version FROM streams WHERE stream_id = $1", thread["id"]))
    await client.call("DELETE", path)
    async with asyncio.timeout(30):  # the eraser has looked at it, and left it
        while not await pool.fetchval(
            "SELECT count(*) FROM erasures WHERE stream_id = $1 AND due_at > now()", thread["id"]
        ):
            await asyncio.sleep(0.05)
    assert (await client.call("GET", path)).status == 404
    assert (await client.call("GET", path, at=version)).status == 404
    async with await as_key(client, pool, scope="audit:content") as auditor:
        messages = await auditor.get(f"{path}/messages", at=version)
        assert messages["data"][0]["content"][0]["text"]["value"] == "Hello there"
    await client.call("DELETE", f"{HOLDS}/{hold['id']}")
    async with asyncio.timeout(30):
        while not await pool.fetchval(
            "SELECT count(*) FROM erasures WHERE stream_id = $1 AND cleared_at IS NOT NULL", thread["id"]
        ):
            await asyncio.sleep(0.05)
