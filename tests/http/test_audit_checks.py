"""GET /v1/audit/verification and GET /v1/audit/erasures/{stream}."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from service.audit import verifications
from service.cli import admin
from service.database import Pool
from tests.client import Client
from tests.clock import IDS
from tests.http.helpers import thread_with
from tests.http.keys import as_key, writer


async def verification(client: Client) -> list[dict[str, Any]]:
    url = f"{client.base_url}/audit/verification"
    async with client.session.get(url, headers=client.headers) as response:
        assert response.status == 200
        frames = (await response.text()).split("\n\n")
    assert frames.pop() == ""
    return [orjson.loads(frame.removeprefix("event: audit.verification\ndata: ")) for frame in frames]


async def test_a_verification_ends_with_its_result(client: Client) -> None:
    await thread_with(client, "Hello")
    *_, last = await verification(client)
    assert (last["status"], last["problem"], last["fault_count"], last["faults"]) == ("completed", None, 0, [])
    assert last["events"] == last["total_events"] > 2
    assert last["streams"] == last["total_streams"] > 0


async def test_a_change_by_hand_is_named(client: Client, pool: Pool) -> None:
    thread = await thread_with(client, "Hello")
    await pool.execute("UPDATE threads SET has_own_store = true WHERE thread_id = $1", thread["id"])
    *_, last = await verification(client)
    assert last["fault_count"] == 1
    assert last["faults"][0]["stream_id"] == thread["id"]


async def test_a_verification_has_an_end(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifications, "MAX_VERIFICATION_S", -1.0)
    await thread_with(client, "Hello")
    *_, last = await verification(client)
    assert last["status"] == "failed"
    assert "everthread verify" in last["problem"]


async def test_one_verification_at_a_time(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one is possible as soon as the first has ended."""
    monkeypatch.setattr(verifications, "REPORT_EVERY_S", 0.0)
    work = verifications.Verifications("postgres://nobody@127.0.0.1:1/nothing")
    states = work.run()
    await anext(states)
    with pytest.raises(verifications.VerificationBusy):
        await anext(work.run())
    ended = [state async for state in states]
    assert ended[-1].problem == "The database did not answer."
    assert not (await anext(work.run())).is_ended


async def test_a_project_does_not_verify_all(client: Client, pool: Pool) -> None:
    for scope in ("audit", "audit:content", "full", "read"):
        async with await as_key(client, pool, scope=scope) as other:
            answer = await other.call("GET", "/audit/verification")
            assert answer.status == 403


async def test_the_erasure_of_a_thread(client: Client, pool: Pool) -> None:
    thread = await thread_with(client, "Hello")
    found = await client.get(f"/audit/erasures/{thread['id']}")
    assert (found["is_erased"], found["problem"]) == (False, "its object is not deleted")
    await client.delete(f"/threads/{thread['id']}")
    found = await client.get(f"/audit/erasures/{thread['id']}")
    assert [event["type"] for event in found["events"]][-1] == "thread.deleted"
    assert found["problem"] == f"{len(found['events'])} of its events can be read", "nothing is encrypted here"
    assert (await client.call("GET", "/audit/erasures/thread_nothing")).status == 404
    await admin.create_project(writer(pool), "Theirs", ids=IDS)
    async with await as_key(client, pool, "Theirs", "audit") as other:
        assert (await other.call("GET", f"/audit/erasures/{thread['id']}")).status == 404
