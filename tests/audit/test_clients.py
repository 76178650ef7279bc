"""The clients of requests: committed to in the log, kept apart from it, and forgotten in time."""

from __future__ import annotations

from hashlib import sha256

import pytest

from events.clients import ClientFacts, open_client
from events.installation import INSTALLATION_ID
from service.audit import clients
from service.audit.clients import ClientRecorder
from service.database import Pool
from tests.client import Client
from tests.clock import CLOCK, IDS, WallClock
from tests.conftest import StartServer
from tests.http.keys import make_key
from tests.leaf_check import check_leaves


def recorder(pool: Pool, *, keep_days: int = 1) -> ClientRecorder:
    return ClientRecorder(pool, keep_days=keep_days, clock=CLOCK, ids=IDS)


async def stored(pool: Pool) -> dict[str, bytes]:
    """Returns the contents of the rows by request id."""
    rows = await pool.fetch("SELECT request_id, content FROM request_clients")
    return {row["request_id"]: row["content"] for row in rows}


async def test_the_events_of_a_request_commit_to_its_client(start_server: StartServer, pool: Pool) -> None:
    sent = {"User-Agent": "probe/1", "X-Forwarded-For": "192.0.2.7", "OpenAI-Safety-Identifier": "user-7"}
    async with start_server() as client:
        client.headers.update(sent)
        thread = await client.post("/threads", {"messages": [{"role": "user", "content": "Hi"}]})
        await client.get(f"/threads/{thread['id']}")
    contents = await stored(pool)
    events = await pool.fetch("SELECT request_id, client FROM events WHERE stream_id = $1", thread["id"])
    [request_id] = {event["request_id"] for event in events}
    assert contents.keys() == {request_id}, "a GET appends nothing, so its client is not kept"
    content = contents[request_id]
    assert {event["client"] for event in events} == {sha256(b"everthread/client/1\n" + content).digest()}
    assert open_client(content) == {
        "address": "127.0.0.1",
        "forwarded_for": "192.0.2.7",
        "user_agent": "probe/1",
        "safety_identifier": "user-7",
    }
    async with pool.acquire() as db:
        await check_leaves(db)


async def test_reads_of_auditors_and_failed_sign_ins_name_their_client(start_server: StartServer, pool: Pool) -> None:
    async with start_server() as client:
        _, key = await make_key(pool, scope="audit:content")
        async with Client(client.base_url, key=key) as auditor, Client(client.base_url, key="wrong") as stranger:
            await auditor.get("/assistants")
            for _ in range(2):
                await stranger.call("GET", "/assistants")
    query = "SELECT type, request_id, client FROM events WHERE stream_id = $1 AND type = 'audit.read'"
    [read] = await pool.fetch(query, INSTALLATION_ID)
    contents = await stored(pool)
    assert read["client"] == sha256(b"everthread/client/1\n" + contents[read["request_id"]]).digest()
    assert len(contents) == 2, "the first request of the stranger, and the auditor's"


async def test_no_clients_are_kept_if_the_setting_says_so(
    start_server: StartServer, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVERTHREAD_AUDIT_CLIENT", "off")
    async with start_server() as client:
        thread = await client.post("/threads", {})
    assert await stored(pool) == {}
    assert await pool.fetchval("SELECT client FROM events WHERE stream_id = $1", thread["id"]) is None


async def test_rows_are_deleted_in_time(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "DELETES_PER_QUERY", 2)
    clock = WallClock()
    kept = ClientRecorder(pool, keep_days=3, clock=clock, ids=IDS)
    for number in range(5):
        kept.record(f"req_{number}", ClientFacts("192.0.2.1"))
    clock.skip(2 * 24 * 3600)
    kept.record("req_new", ClientFacts("192.0.2.1"))
    await kept.write()
    clock.skip(2 * 24 * 3600)
    await kept.delete_old()
    assert set(await stored(pool)) == {"req_new"}


async def test_rows_wait_while_the_database_is_away(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "ROWS_PER_QUERY", 2)
    kept = recorder(pool)
    for number in range(5):
        kept.record(f"req_{number}", ClientFacts("192.0.2.1"))

    def fail() -> None:
        raise OSError("no database")

    with monkeypatch.context() as broken:
        broken.setattr(pool, "acquire", fail)
        await kept.write()
    await kept.write()
    assert set(await stored(pool)) == {f"req_{number}" for number in range(5)}


def test_the_memory_is_bounded(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "MAX_WAITING", 3)
    kept = recorder(pool)
    for number in range(5):
        kept.record(f"req_{number}", ClientFacts("192.0.2.1"))
    assert [row.request_id for row in kept._waiting] == ["req_2", "req_3", "req_4"]
