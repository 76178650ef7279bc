"""A whole server seals its events, counts them and reports how they wait."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from service.audit import sequencer
from service.audit.checkpoint import open_checkpoint
from service.audit.notes import Note, VerifierKey
from service.audit.tiles import TreeEdge, split_hashes
from service.errors import StartupError
from service.telemetry import health
from sql.connection import Connection
from tests.audit.appends import check_log
from tests.client import Client
from tests.conftest import StartServer
from tests.http.helpers import run_of
from tests.http.test_metrics import scraped, value

WAIT_S = 60.0


async def test_all_events_of_a_run_are_sealed_and_counted(client: Client, db: Connection) -> None:
    await client.settled(await run_of(client, "Hi"))
    events = await db.fetchval("SELECT count(*) FROM events")
    async with asyncio.timeout(WAIT_S):
        while value(seen := await scraped(client), "log_size") != events:
            await asyncio.sleep(0.005)
        while await db.fetchval("SELECT count(*) FROM log_pending"):
            await asyncio.sleep(0)
    assert await check_log(db) == events
    assert (value(seen, "log_lag_seconds") or 0.0) < WAIT_S
    assert value(await scraped(client), "log_pending") == 0


async def test_healthz_is_degraded_if_events_wait_for_long(
    start_server: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "CACHE_S", 0.0)
    async with start_server() as client:
        assert (await _health(client))[1]["audit_log"] == "ok"
        assert (await _health(client))[1]["checkpoints"] == "ok"
        monkeypatch.setattr(sequencer, "MAX_LAG_S", -1.0)
        status, content = await _health(client)
        assert (status, content["status"]) == (200, "degraded")
        assert content["audit_log"].startswith("events have waited for")


async def test_a_server_signs_checkpoints_with_the_key_that_it_records(client: Client, db: Connection) -> None:
    await client.settled(await run_of(client, "Hi"))
    events = await db.fetchval("SELECT count(*) FROM events")
    async with asyncio.timeout(WAIT_S):
        while await db.fetchval("SELECT size FROM log_latest") != events:
            await asyncio.sleep(0.01)
    (vkey,) = await db.fetchval(
        "SELECT array_agg(content ->> 'verifier_key') FROM events_readable WHERE type = 'log_key.used'"
    )
    note = Note.parse(await db.fetchval("SELECT note FROM log_latest"))
    checkpoint = open_checkpoint(note, VerifierKey.parse(vkey))
    edge = TreeEdge()
    edge.append(split_hashes(await db.fetchval("SELECT string_agg(leaves, '' ORDER BY first_index) FROM log_ranges")))
    assert (checkpoint.size, checkpoint.root) == (events, edge.root())
    assert await db.fetchval("SELECT count(*) FROM log_checkpoints") == 1


async def test_a_key_that_cannot_be_used_ends_the_start(start_server: StartServer) -> None:
    with pytest.raises(StartupError, match="EVERTHREAD_LOG_KEY holds no Ed25519 key"):
        async with start_server(log_key="AAAA"):
            pass


async def _health(client: Client) -> tuple[int, dict[str, Any]]:
    async with client.session.get(client.base_url.removesuffix("/v1") + "/healthz") as response:
        return response.status, await response.json()
