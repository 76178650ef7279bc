"""An acknowledged append is on disk. The other tests use a Postgres that does not sync; these use one that does."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from events import event_log
from service import database
from service.database import connect, open_pool
from service.embedded.postgres import EmbeddedPostgres
from service.migrations import prepare_database
from sql.connection import Connection
from tests.events.thread.story import CREATE, add
from tests.projections.helpers import ORIGIN, writer

pytestmark = pytest.mark.embedded
APPENDS = 20


async def wal_syncs(db: Connection) -> int:
    """Returns how often this connection, and other idle ones, waited until the log was on disk."""
    await db.execute("SELECT pg_stat_force_next_flush()")
    found: int = await db.fetchval("SELECT sum(fsyncs)::bigint FROM pg_stat_io WHERE object = 'wal'")
    return found


def kill_postgres(data_dir: Path) -> None:
    """Kills every process of the Postgres at once, as a crash of the machine does."""
    [lock] = (data_dir / "postgres").glob("*/postmaster.pid")
    postmaster = psutil.Process(int(lock.read_text().splitlines()[0]))
    processes = [postmaster, *postmaster.children(recursive=True)]
    postmaster.suspend()  # stopped processes can neither start others nor report
    for process in reversed(processes):
        process.kill()


async def test_acknowledged_appends_are_synced_and_survive_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for bound in ("POOL_MIN", "POOL_MAX"):
        monkeypatch.setattr(database, bound, 1)  # Postgres counts waits for each connection
    postgres = EmbeddedPostgres(tmp_path)
    url = await postgres.start()
    await prepare_database(url)
    pool = await open_pool(url)
    write = writer(pool)
    written = await write.thread(ORIGIN, "thread_1", CREATE)
    async with pool.acquire() as db:
        before = await wal_syncs(db)
    for number in range(APPENDS):
        written = await write.thread(ORIGIN, "thread_1", add("Hi", f"msg_{number}"))
    async with pool.acquire() as db:
        assert await wal_syncs(db) - before >= APPENDS
    kill_postgres(tmp_path)
    await postgres.wait()
    pool.terminate()
    await postgres.stop()

    again = EmbeddedPostgres(tmp_path)
    reader = await connect(await again.start())
    found = await event_log.read(reader, "thread_1")
    assert [entry.version for entry in found] == list(range(1, written.version + 1))
    assert found[-len(written.recorded) :] == written.recorded
    await reader.close()
    await again.stop()
