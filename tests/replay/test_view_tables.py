"""Rows that are folded in memory equal the rows that appends wrote, at every version of random histories."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from events import event_log
from events.assistant import DeleteAssistant, ModifyAssistant
from events.errors import DomainError, Rejection
from events.streams import ASSISTANT, THREAD, VECTOR_STORE, StreamType
from projections import threads
from service.database import Pool
from service.replay import store_tables, stream_fold, thread_tables
from service.replay.stream_fold import fold_stream
from service.replay.view_tables import ViewTables
from sql import blocks
from sql.connection import Connection
from tests.events.thread.histories import World
from tests.projections.helpers import ORIGIN, make_assistant, make_thread, writer
from tests.projections.test_vector_stores import CREATE, ErraticClock, make_files, random_command

HISTORIES = 6
COMMANDS = 60
# The tables of each type, with the column that is the id of a row within its stream.
TABLES: dict[StreamType[Any, Any], dict[str, str]] = {
    THREAD: {
        "threads": "thread_id",
        "thread_attachments": "position",
        "messages": "message_id",
        "runs": "run_id",
        "active_runs": "run_id",
        "steps": "step_id",
        "metadata_pairs": "pair",
    },
    ASSISTANT: {"assistants": "assistant_id", "metadata_pairs": "pair"},
    VECTOR_STORE: {
        "vector_stores": "store_id",
        "vector_store_files": "file_id",
        "vector_store_batches": "batch_id",
    },
}
_STREAM_COLUMNS = {"metadata_pairs": "stream_id", "assistants": "assistant_id"}
Rows = dict[str, dict[Any, dict[str, Any]]]


def test_every_block_of_these_tables_has_an_effect() -> None:
    tables = {table for of_type in TABLES.values() for table in of_type}
    names = {f"{table}.{name}" for table in tables for name in blocks(table) if not name.endswith("_many")}
    assert names == thread_tables.EFFECTS.keys() | store_tables.EFFECTS.keys()


async def _served(db: Connection, stream_type: StreamType[Any, Any], stream_id: str) -> Rows:
    found: Rows = {}
    for table, id in TABLES[stream_type].items():
        stream = _STREAM_COLUMNS.get(table) or ("store_id" if stream_type is VECTOR_STORE else "thread_id")
        rows = await db.fetch(f"SELECT * FROM {table} WHERE {stream} = $1", stream_id)
        found[table] = {row[id]: dict(row) for row in rows}
    return found


def _folded(tables: ViewTables, stream_type: StreamType[Any, Any]) -> Rows:
    return {table: tables.table(table) for table in TABLES[stream_type]}


async def _compare(pool: Pool, stream_type: StreamType[Any, Any], stream_id: str, served: dict[int, Rows]) -> None:
    for version, rows in served.items():
        fold = await fold_stream(pool, stream_type, stream_id, version)
        assert fold.version == version
        assert _folded(fold.tables, stream_type) == rows


@pytest.mark.slow
async def test_threads_at_every_version(pool: Pool) -> None:
    write = writer(pool)
    for seed in range(HISTORIES):
        world = World(Random(seed), f"thread_{seed}", lifetimes=(0, 600, 600, 600))
        served: dict[int, Rows] = {}
        for _ in range(COMMANDS):
            try:
                written = await write.thread(ORIGIN, world.state.id, world.next_command())
            except DomainError:
                continue
            world.absorb(written.recorded)
            async with pool.acquire() as db:
                served[len(world.log)] = await _served(db, THREAD, world.state.id)
        assert served
        await _compare(pool, THREAD, world.state.id, served)
        fold = await fold_stream(pool, THREAD, world.state.id, len(world.log))
        assert fold.state == world.state


@pytest.mark.slow
async def test_vector_stores_at_every_version(pool: Pool) -> None:
    write = writer(pool, ErraticClock(Random(1)))
    await make_files(write)
    for seed in range(HISTORIES):
        random, store = Random(seed), f"vs_{seed}"
        served: dict[int, Rows] = {}
        await write.vector_store(ORIGIN, store, CREATE)
        for _ in range(COMMANDS):
            try:
                written = await write.vector_store(ORIGIN, store, random_command(random, store))
            except DomainError:
                continue
            if written.recorded:
                async with pool.acquire() as db:
                    served[written.recorded[-1].version] = await _served(db, VECTOR_STORE, store)
        await _compare(pool, VECTOR_STORE, store, served)


async def test_an_assistant_at_every_version(pool: Pool, db: Connection) -> None:
    write = writer(pool)
    served: dict[int, Rows] = {}
    await make_assistant(write, "asst_1", metadata={"a": "b", "c": "d"})
    served[1] = await _served(db, ASSISTANT, "asst_1")
    several: list[dict[str, Any]] = [
        {"name": None},
        {"metadata": {"a": "x"}, "model": "other"},
        {"metadata": {}},
        {"name": "n"},
    ]
    for changes in several:
        await write.assistant(ORIGIN, "asst_1", ModifyAssistant(changes))
        served[len(served) + 1] = await _served(db, ASSISTANT, "asst_1")
    await write.assistant(ORIGIN, "asst_1", DeleteAssistant())
    served[6] = await _served(db, ASSISTANT, "asst_1")
    await make_assistant(write, "asst_1")
    served[7] = await _served(db, ASSISTANT, "asst_1")
    await _compare(pool, ASSISTANT, "asst_1", served)


async def test_a_fold_reads_pages_and_keeps_only_the_views_that_are_asked_for(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_fold, "PAGE_EVENTS", 3)
    monkeypatch.setattr(stream_fold, "SLICE_EVENTS", 2)
    write = writer(pool)
    await make_thread(write, "thread_1", *"abcdefgh")
    fold = await fold_stream(pool, THREAD, "thread_1", event_log.NO_END, [threads.project])
    assert (fold.version, fold.tables.names(), fold.state.user_messages) == (9, ["threads"], 8)
    fold = await fold_stream(pool, THREAD, "thread_1", 5)
    assert (fold.version, len(fold.tables.table("messages"))) == (5, 4)


async def test_a_fold_that_is_too_large_is_refused(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_fold, "MAX_FOLD_BYTES", 1000)
    write = writer(pool)
    await make_thread(write, "thread_1", "x" * 2000)
    with pytest.raises(Rejection):
        await fold_stream(pool, THREAD, "thread_1", 2)
    assert (await fold_stream(pool, THREAD, "thread_1", 2, [threads.project])).version == 2
