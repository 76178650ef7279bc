"""Server processes of which one seals the events: it is frozen in the middle of a round, or cannot write."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from service.audit.sequencer import seal_batch
from service.database import connect
from sql.connection import Connection
from tests.audit.appends import check_log
from tests.audit.test_verification import verify
from tests.crash.conftest import Server, Start

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

WAIT_S = 90.0
# Sequencers that wait for a lock to write their ranges.
BLOCKED = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%INSERT INTO log_ranges%'
"""


@pytest.fixture
async def other_db(database_url: str) -> AsyncIterator[Connection]:
    """A connection that holds locks."""
    db = await connect(database_url)
    yield db
    await db.close()


async def process_numbers(db: Connection) -> list[int]:
    rows = await db.fetch(
        "SELECT objid FROM pg_locks JOIN pg_database ON oid = database AND datname = current_database()"
        " WHERE locktype = 'advisory' AND classid = x'45565448'::int::oid AND objsubid = 2 AND granted ORDER BY objid"
    )
    return [row["objid"] for row in rows]


@asynccontextmanager
async def two_servers(start: Start, db: Connection, log: Path) -> AsyncIterator[tuple[Server, Server]]:
    """Yields the server that leads and the other one, which both write their logs to `log`."""
    descriptor = os.open(log, os.O_CREAT | os.O_RDWR | os.O_APPEND)
    try:
        async with start(stderr=descriptor) as first:
            [number] = await process_numbers(db)
            async with start(stderr=descriptor) as second:
                # Numbers of processes are random, and the lowest one leads.
                yield (first, second) if (await process_numbers(db))[0] == number else (second, first)
    finally:
        os.close(descriptor)


async def sealed(db: Connection) -> None:
    """Waits until every event has its index."""
    while await db.fetchval("SELECT coalesce(sum(count), 0) FROM log_ranges") < await db.fetchval(
        "SELECT count(*) FROM events"
    ):
        await asyncio.sleep(0.02)


async def health(server: Server) -> dict[str, Any]:
    async with server.client.session.get(server.client.base_url.removesuffix("/v1") + "/healthz") as response:
        content: dict[str, Any] = await response.json()
        return content


async def test_a_leader_that_is_frozen_in_a_round(
    start: Start, db: Connection, other_db: Connection, database_url: str, tmp_path: Path
) -> None:
    """Another one seals the same events while it writes them. When the leader wakes up, it finds that out."""
    log = tmp_path / "leader.log"
    async with asyncio.timeout(WAIT_S), two_servers(start, db, log) as (leader, other):
        await sealed(db)
        async with other_db.transaction():
            await other_db.execute("LOCK TABLE log_ranges IN SHARE ROW EXCLUSIVE MODE")
            thread = await other.client.post("/threads", {"messages": [{"role": "user", "content": "Hi"}]})
            while not await db.fetchval(BLOCKED):
                await asyncio.sleep(0.02)
            assert (await seal_batch(other_db)).ranges
            leader.process.send_signal(signal.SIGSTOP)
        began = asyncio.get_running_loop().time()
        await other.client.post("/threads", {})
        await sealed(db)
        took = asyncio.get_running_loop().time() - began
        assert took < 10, "it is bypassed after two seconds, on a machine with nothing else to do"
        before = len(log.read_text())
        leader.process.send_signal(signal.SIGCONT)
        while "sequencer_collided" not in log.read_text()[before:]:
            await asyncio.sleep(0.02)
        await leader.client.post(f"/threads/{thread['id']}/messages", {"role": "user", "content": "And?"})
        await sealed(db)
        assert (await health(leader))["audit_log"] == (await health(other))["audit_log"] == "ok"
    assert await check_log(db) == await db.fetchval("SELECT count(*) FROM events")
    assert await verify(database_url) == []


async def test_events_that_wait_for_ten_seconds(
    start: Start, db: Connection, other_db: Connection, tmp_path: Path
) -> None:
    async with asyncio.timeout(WAIT_S), two_servers(start, db, tmp_path / "leader.log") as servers:
        await sealed(db)
        async with other_db.transaction():
            await other_db.execute("LOCK TABLE log_ranges IN EXCLUSIVE MODE")
            began = asyncio.get_running_loop().time()
            thread = await servers[1].client.post("/threads", {})
            for server in servers:
                while (found := await health(server))["status"] != "degraded":
                    await asyncio.sleep(0.1)
                assert "events have waited for" in found["audit_log"]
            assert asyncio.get_running_loop().time() - began >= 9
            created = await servers[0].client.get(f"/threads/{thread['id']}")
            assert created["id"] == thread["id"], "requests are served"
        await sealed(db)
        for server in servers:
            while (await health(server))["audit_log"] != "ok":
                await asyncio.sleep(0.1)
