"""The log as static resources: a monitor that knows only the specifications reads and verifies it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import orjson
import pytest
from aiohttp import ClientResponse

from events.project import DEFAULT_PROJECT
from service.audit.checkpoint import Checkpoint
from service.audit.merkle import hash_entry
from service.audit.notes import Note
from service.audit.restores import EPOCH_INDEXES
from service.audit.tiles import TreeEdge, decode_bundle, split_hashes
from service.cli import admin
from service.cli.admin import ALL_PROJECTS
from service.database import Pool
from sql.connection import Connection
from tests.client import KEY, Client
from tests.clock import IDS
from tests.conftest import StartServer
from tests.http.helpers import run_of
from tests.projections.helpers import writer

WAIT_S = 60.0


@dataclass
class Monitor:
    """Reads the log with a key."""

    client: Client
    key: str

    async def read(self, path: str, **headers: str) -> tuple[ClientResponse, bytes]:
        url = f"{self.client.base_url.removesuffix('/v1')}/audit/log/{path}"
        async with self.client.session.get(url, headers={"Authorization": f"Bearer {self.key}", **headers}) as response:
            return response, await response.read()

    async def checkpoint(self) -> Checkpoint:
        response, body = await self.read("checkpoint")
        assert response.status == 200, body
        return Checkpoint.parse(Note.parse(body.decode()).text)


async def monitor_of(client: Client, pool: Pool, project: str, scope: str = "audit") -> Monitor:
    _, key = await admin.create_key(writer(pool), project, scope, scope, ids=IDS)  # type: ignore[arg-type]
    return Monitor(client, key)


@pytest.fixture
async def auditor(client: Client, pool: Pool) -> Monitor:
    return await monitor_of(client, pool, ALL_PROJECTS)


async def test_a_monitor_reads_and_verifies_the_log(auditor: Monitor, client: Client, db: Connection) -> None:
    await client.settled(await run_of(client, "Hi"))
    events = await db.fetchval("SELECT count(*) FROM events")
    async with asyncio.timeout(WAIT_S):
        while (checkpoint := await auditor.checkpoint()).size < events:
            await asyncio.sleep(0.05)
    size = checkpoint.size
    assert size < 256, "a run of one step has few events"
    response, hashes = await auditor.read(f"tile/0/000.p/{size}")
    assert response.status == 200
    assert response.headers["Content-Type"] == "application/octet-stream"
    assert response.headers["Cache-Control"] == "private, no-cache", "the next epoch has another tile here"
    assert response.headers["Content-Location"] == f"/audit/log/epochs/1/tile/0/000.p/{size}"
    response, same = await auditor.read(f"epochs/1/tile/0/000.p/{size}")
    assert (response.status, same) == (200, hashes)
    assert "immutable" in response.headers["Cache-Control"]
    edge = TreeEdge()
    edge.append(split_hashes(hashes))
    assert edge.root() == checkpoint.root
    response, bundle = await auditor.read(f"tile/entries/000.p/{size}", **{"Accept-Encoding": "gzip"})
    assert response.headers["Content-Encoding"] == "gzip"
    entries = decode_bundle(bundle)
    assert [hash_entry(entry) for entry in entries] == split_hashes(hashes)
    assert b"log_key.used" in b"".join(entries)


async def test_the_checkpoint_is_text_that_is_not_cached(auditor: Monitor) -> None:
    async with asyncio.timeout(WAIT_S):
        while (answer := await auditor.read("checkpoint"))[0].status == 404:
            await asyncio.sleep(0.05)
    assert answer[0].headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer[0].headers["Cache-Control"] == "private, no-cache"


async def test_a_tile_that_the_log_does_not_have_is_missing(auditor: Monitor) -> None:
    await auditor.client.post("/assistants", {"model": "gpt-4o"})
    async with asyncio.timeout(WAIT_S):
        while (await auditor.read("tile/0/000.p/1"))[0].status != 200:
            await asyncio.sleep(0.05)
    for path in ("tile/0/000", "tile/0/001.p/1", "tile/1/000.p/1", "tile/entries/000", "tile/0/0", "tile/x"):
        response, body = await auditor.read(path)
        assert response.status == 404, (path, body)


async def test_a_monitor_reads_an_older_epoch(start_server: StartServer, pool: Pool, db: Connection) -> None:
    async with start_server() as client:
        auditor = await monitor_of(client, pool, ALL_PROJECTS)
        await client.settled(await run_of(client, "Hi"))
        async with asyncio.timeout(WAIT_S):
            while (old := await auditor.checkpoint()).size < await db.fetchval("SELECT count(*) FROM events"):
                await asyncio.sleep(0.05)
    kept = await db.fetchval("SELECT sum(count) FROM log_ranges")
    async with start_server(restored="Only for this test.") as client:
        auditor = Monitor(client, auditor.key)
        async with asyncio.timeout(WAIT_S):
            while (new := await auditor.checkpoint()).origin == old.origin:
                await asyncio.sleep(0.05)
        _, listed = await auditor.read("epochs")
        epochs = orjson.loads(listed)["data"]
        assert [(epoch["epoch"], epoch["origin"]) for epoch in epochs] == [(1, old.origin), (2, new.origin)]
        assert (epochs[0]["size"], epochs[1]["first_index"]) == (kept, EPOCH_INDEXES)
        for number, signed in ((1, old), (2, new)):
            _, note = await auditor.read(f"epochs/{number}/checkpoint")
            assert Checkpoint.parse(Note.parse(note.decode()).text).origin == signed.origin
            response, hashes = await auditor.read(f"epochs/{number}/tile/0/000.p/{signed.size}")
            edge = TreeEdge()
            edge.append(split_hashes(hashes))
            assert (response.status, edge.root()) == (200, signed.root)
            _, bundle = await auditor.read(f"epochs/{number}/tile/entries/000.p/{signed.size}")
            assert [hash_entry(entry) for entry in decode_bundle(bundle)] == split_hashes(hashes)
        for path in (
            "epochs/3/checkpoint",
            "epochs/0/tile/0/000.p/1",
            "epochs/x/checkpoint",
            f"epochs/1/tile/0/000.p/{kept + 1}",
        ):
            assert (await auditor.read(path))[0].status == 404, path
        other = await monitor_of(client, pool, DEFAULT_PROJECT)
        assert (await other.read("epochs/1/tile/entries/000.p/1"))[0].status == 403


async def test_who_may_read_the_log(client: Client, pool: Pool) -> None:
    await client.post("/assistants", {"model": "gpt-4o"})
    operator = Monitor(client, KEY)
    async with asyncio.timeout(WAIT_S):
        while (await operator.read("tile/0/000.p/1"))[0].status != 200:
            await asyncio.sleep(0.05)
    for project, scope, hashes, entries in (
        (ALL_PROJECTS, "audit", 200, 200),
        (ALL_PROJECTS, "audit:content", 200, 200),
        (DEFAULT_PROJECT, "audit", 200, 403),
        (DEFAULT_PROJECT, "full", 200, 403),
        (DEFAULT_PROJECT, "read", 403, 403),
    ):
        monitor = await monitor_of(client, pool, project, scope)
        assert (await monitor.read("checkpoint"))[0].status == hashes
        assert (await monitor.read("tile/0/000.p/1"))[0].status == hashes
        assert (await monitor.read("tile/entries/000.p/1"))[0].status == entries
    assert (await Monitor(client, "wrong").read("checkpoint"))[0].status == 401


async def test_reads_of_many_tiles_are_one_event(auditor: Monitor, db: Connection) -> None:
    for number in range(5):
        await auditor.read(f"tile/0/00{number}.p/1")
    query = "SELECT content ->> 'path' AS path FROM events_readable WHERE type = 'audit.read'"
    assert [row["path"] for row in await db.fetch(query)] == ["/audit/log/tile/{tile}"]
