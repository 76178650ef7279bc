"""Recordings of runs are held in memory, so a thread's history and its recording are bounded."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from events.errors import Rejection
from service.cli import logs
from service.cli.replay_record import record
from service.database import Pool
from service.errors import CommandError
from service.replay import run_recorder
from service.replay.run_recorder import load_run, record_lines
from sql.connection import Connection
from tests.events.thread.story import add, claim, finish, run
from tests.projections.helpers import ORIGIN, make_thread, writer
from tests.sealed import opened

TOO_LARGE = "The history of the thread has more than 10 bytes: its runs cannot be recorded."


@pytest.fixture
async def finished_run(pool: Pool) -> None:
    write = writer(pool)
    await make_thread(write, "thread_1")
    await write.thread(ORIGIN, "thread_1", add("Hi"))
    await write.thread(ORIGIN, "thread_1", run("run_1", claim=claim()))
    await write.thread(ORIGIN, "thread_1", finish("Hello.", run_id="run_1"))


async def test_a_history_up_to_the_limit_is_recorded(
    pool: Pool, db: Connection, finished_run: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_recorder, "PREFETCH", 2)
    query = opened("SELECT stream_id, version, content FROM events WHERE stream_id = 'thread_1'", "events")
    size = sum(len(row["content"]) for row in await db.fetch(query))
    monkeypatch.setattr(run_recorder, "MAX_HISTORY_BYTES", size)
    events = await load_run(pool, "run_1")
    assert [logged.recorded.version for logged in events] == list(range(1, len(events) + 1))
    monkeypatch.setattr(run_recorder, "MAX_HISTORY_BYTES", size - 1)
    with pytest.raises(Rejection, match="cannot be recorded"):
        await load_run(pool, "run_1")


async def test_lines_up_to_the_limit_are_recorded(
    pool: Pool, finished_run: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = await load_run(pool, "run_1")
    lines = list(record_lines(events))
    monkeypatch.setattr(run_recorder, "MAX_HISTORY_BYTES", sum(map(len, lines)))
    assert list(record_lines(events)) == lines
    monkeypatch.setattr(run_recorder, "MAX_HISTORY_BYTES", sum(map(len, lines)) - 1)
    with pytest.raises(Rejection, match="cannot be recorded"):
        list(record_lines(events))


async def test_the_command_says_that_a_history_is_too_large(
    finished_run: None, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVERTHREAD_DATABASE_URL", database_url)
    monkeypatch.setattr(logs, "configure", lambda level: None)
    monkeypatch.setattr(run_recorder, "MAX_HISTORY_BYTES", 10)
    path = tmp_path / "run.jsonl"
    with pytest.raises(CommandError, match=TOO_LARGE):
        await asyncio.to_thread(record, ["run_1"], path, has_texts=True, sees_deleted=False, data_dir=None)
    assert not path.exists()
