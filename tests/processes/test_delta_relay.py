"""The relay of live deltas between two processes, when the database fails between two batches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from service.database import Pool, close_pool, open_pool
from service.deltas import MessageTextDelta
from service.feed import Feed, Watcher
from service.processes import delta_relay
from service.processes.lifespan import peers_lifespan
from service.secrets.encryption import begin_encryption
from service.secrets.key_source import EncryptionKeySource
from sql.connection import Connection
from sql.seals import is_sealed
from tests.clock import IDS
from tests.events.thread.story import CREATE
from tests.projections.helpers import ORIGIN, writer

WAIT_S = 60.0
THREAD = "thread_1"
LOSE_ROWS = """
CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER lost BEFORE INSERT ON live_deltas FOR EACH ROW EXECUTE FUNCTION lose();
"""


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delta_relay, "BATCH_S", 0.01)
    monkeypatch.setattr(delta_relay, "RETRY_AFTER_S", 0.01)
    monkeypatch.setattr(delta_relay, "ANNOUNCE_EVERY_S", 0.05)


@asynccontextmanager
async def process(url: str) -> AsyncIterator[Feed]:
    """Yields the feed of a process that passes deltas to and from its peers."""
    pool, feed = await open_pool(url), Feed()
    try:
        async with peers_lifespan(url, feed, pool, ids=IDS, is_alone=True):
            yield feed
    finally:
        await close_pool(pool)


def piece(text: str) -> MessageTextDelta:
    return MessageTextDelta("run_1", "msg_1", "step_1", 0, text)


class Reader:
    """A client of the other process: it adds up the text of the deltas."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self.text = ""

    async def read_until(self, text: str) -> None:
        """Reads until the text ends so."""
        async with asyncio.timeout(WAIT_S):
            while not self.text.endswith(text):
                items = [item for item in await self._watcher.take() if isinstance(item, MessageTextDelta)]
                self.text += "".join(item.text for item in items)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():
            await asyncio.sleep(0.01)


async def is_empty(db: Connection) -> None:
    async with asyncio.timeout(WAIT_S):
        while await db.fetchval("SELECT count(*) FROM live_deltas"):
            await asyncio.sleep(0.01)


async def test_a_batch_that_fails_leaves_no_hole_in_the_text(database_url: str, db: Connection) -> None:
    async with process(database_url) as one, process(database_url) as two:
        with one.open_call(THREAD), two.watch(THREAD) as watcher, two.watch(THREAD) as late:
            two.begin(watcher)
            reader = Reader(watcher)
            one.publish_deltas(THREAD, [piece("one ")])
            await reader.read_until("one ")
            with capture_logs() as logs:
                await db.execute("ALTER TABLE live_deltas RENAME TO hidden")
                one.publish_deltas(THREAD, [piece("two ")])
                await until(lambda: any(entry["event"] == "deltas_not_relayed" for entry in logs))
                await db.execute("ALTER TABLE hidden RENAME TO live_deltas")
            one.publish_deltas(THREAD, [piece("three")])
            await reader.read_until("three")
            assert reader.text == "one two three"
            two.begin(late)
            begun = Reader(late)
            await begun.read_until("three")
            assert begun.text == "one two three"
        await is_empty(db)


async def test_rows_that_a_crash_of_postgres_loses_leave_no_hole_in_the_text(database_url: str, db: Connection) -> None:
    """A trigger loses the rows, since a crash empties the table. It also ends all connections."""
    async with process(database_url) as one, process(database_url) as two:
        with one.open_call(THREAD), two.watch(THREAD) as watcher:
            two.begin(watcher)
            reader = Reader(watcher)
            one.publish_deltas(THREAD, [piece("one ")])
            await reader.read_until("one ")
            await db.execute(LOSE_ROWS)
            await db.execute("LISTEN everthread_deltas")
            woken = asyncio.Event()
            await db.add_listener("everthread_deltas", lambda *_: woken.set())
            one.publish_deltas(THREAD, [piece("two ")])
            await asyncio.wait_for(woken.wait(), WAIT_S)
            await db.execute("DROP TRIGGER lost ON live_deltas")
            one.publish_deltas(THREAD, [piece("three")])
            await db.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            await reader.read_until("three")
            assert reader.text == "one two three"
        await is_empty(db)


async def test_ids_of_rows_survive_a_crash_of_postgres(db: Connection) -> None:
    found = await db.fetchval("SELECT relpersistence FROM pg_class WHERE relname = 'live_deltas_id_seq'")
    assert found == b"p", "a sequence that is not logged begins again after a crash"


async def test_rows_are_deleted_and_read_although_a_statement_failed(database_url: str, db: Connection) -> None:
    async with process(database_url) as one, process(database_url) as two:
        with two.watch(THREAD) as watcher:
            reader = Reader(watcher)
            with one.open_call(THREAD):
                two.begin(watcher)
                one.publish_deltas(THREAD, [piece("one ")])
                await reader.read_until("one ")
                await db.execute("ALTER TABLE live_deltas RENAME COLUMN process TO hidden")
            with capture_logs() as logs:
                await until(lambda: any(entry["event"] == "deltas_not_relayed" for entry in logs))
            await db.execute("ALTER TABLE live_deltas RENAME COLUMN hidden TO process")
            await is_empty(db)


async def test_the_rows_of_an_encrypted_installation_are_sealed(database_url: str, pool: Pool, tmp_path: Path) -> None:
    """Also if it becomes encrypted in the middle of a call, and if a row is changed."""
    async with process(database_url) as one, process(database_url) as two, pool.acquire() as db:
        with one.open_call(THREAD), two.watch(THREAD) as watcher, two.watch(THREAD) as late:
            reader = Reader(watcher)
            two.begin(watcher)
            one.publish_deltas(THREAD, [piece("one ")])
            await reader.read_until("one ")
            source = EncryptionKeySource(folder=tmp_path)
            await begin_encryption(db, source, [])
            db.key_store.ask_again()  # type: ignore[attr-defined]
            one.publish_deltas(THREAD, [piece("two ")])
            await is_empty(db)
            await writer(pool).thread(ORIGIN, THREAD, CREATE)
            one.publish_deltas(THREAD, [piece("three")])
            await reader.read_until("three")
            assert reader.text == "one two three"
            rows = await db.fetch("SELECT deltas FROM live_deltas")
            assert rows
            assert all(is_sealed(row["deltas"]) for row in rows)
            two.begin(late)
            begun = Reader(late)
            await begun.read_until("three")
            assert begun.text == "one two three"
            with capture_logs() as logs:
                await db.execute("UPDATE live_deltas SET call = call + 1000")
                await db.execute("UPDATE live_deltas SET id = DEFAULT")
                one.publish_deltas(THREAD, [piece("four")])
                await until(lambda: any(entry["event"] == "deltas_unreadable" for entry in logs))
