"""Rebuilt views equal served views (docs/architecture.md, "Rules"), and the rebuild's own functions keep their
promises.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest

from events import codec, event_log
from events.assistant import DeleteAssistant, ModifyAssistant
from events.errors import DomainError, NotFound
from events.streams import STREAM_TYPES, THREAD
from events.thread.commands import DeleteMessage, DeleteThread, ModifyMessage, ModifyThread
from events.thread.run_status import ACTIVE
from projections import assistants, messages, rebuild, runs, steps, threads
from projections.rebuild import as_of, verify
from projections.row_fold import CannotFold
from projections.row_store.tables import PRIMARY_KEYS
from projections.rows import Cursor
from projections.views import TABLES, VIEWS
from service.database import Pool
from service.writer.stream_state import fold
from sql import queries
from sql.connection import Connection
from tests.events.thread.histories import World
from tests.events.thread.story import CREATE, add, cancel, claim, finish, run, submit
from tests.fixtures.postgres import ENCRYPTED
from tests.leaf_check import check_leaves
from tests.projections.helpers import ORIGIN, make_assistant, make_thread, served_rows, writer

HISTORIES = 12
COMMANDS = 60


def test_every_stream_type_has_views_and_is_rebuilt() -> None:
    assert set(STREAM_TYPES.values()) == VIEWS.keys() == TABLES.keys()
    assert {table for tables in TABLES.values() for table in tables} == PRIMARY_KEYS.keys()
    blocks = queries("rebuild")
    assert {f"{kind}_{table}" for table in PRIMARY_KEYS for kind in ("rows", "delete")} <= blocks.keys()


@pytest.mark.slow
async def test_random_histories_are_served_as_rebuilt(pool: Pool) -> None:
    write = writer(pool)
    for seed in range(HISTORIES):
        # Lifetimes are real seconds, so nothing expires here but runs that are created overdue.
        world = World(Random(seed), f"thread_{seed}", lifetimes=(0, 600, 600, 600))
        for _ in range(COMMANDS):
            try:
                written = await write.thread(ORIGIN, world.state.id, world.next_command())
            except DomainError:
                continue
            world.absorb(written.recorded)
            assert written.state == world.state
        async with pool.acquire() as db:
            assert await verify(db, world.state.id) == []
            assert await fold(db, THREAD, world.state.id) == world.state
            kept = await event_log.read(db, world.state.id)
            assert [(entry.version, entry.event) for entry in kept] == [(e.version, e.event) for e in world.log]
            if world.state.exists:
                await _views_agree(db, world)


async def _views_agree(db: Connection, world: World) -> None:
    """Compares each object by itself, in its list, and in the history."""
    thread_id = world.state.id
    listed = await messages.page(db, "proj_1", thread_id, Cursor(limit=1000))
    assert {message.id: message.role for message in listed.items} == world.messages
    found = await runs.page(db, "proj_1", thread_id, Cursor(limit=1000))
    assert {run.id: run.status for run in found.items} == world.runs
    active = await db.fetch("SELECT run_id, status, expires_at FROM active_runs WHERE thread_id = $1", thread_id)
    assert {row["run_id"]: (row["status"], row["expires_at"]) for row in active} == {
        run.id: (run.status, run.expires_at) for run in found.items if run.status in ACTIVE
    }
    for made in found.items:
        assert await runs.get(db, "proj_1", thread_id, made.id) == made
        page = await steps.page(db, "proj_1", thread_id, made.id, Cursor(limit=1000))
        if made.usage is not None:
            total = sum(step.usage["prompt_tokens"] for step in page.items if step.usage)
            assert made.usage["prompt_tokens"] == total


async def test_a_rebuild_restores_what_was_lost(pool: Pool, db: Connection) -> None:
    write = writer(pool)
    await _history(write)
    before = await served_rows(db, "thread_1")
    await db.execute("DELETE FROM steps")
    await db.execute("UPDATE runs SET patches = '{}'")
    await db.execute("INSERT INTO active_runs VALUES ('thread_1', 'run_1', 'proj_1', 4, 'queued')")
    await db.execute("""UPDATE messages SET body = '{"id": "forged"}' WHERE message_id = 'msg_2'""")
    await db.execute("INSERT INTO steps VALUES ('thread_1', 'step_forged', 'proj_1', 999, 'run_1', '{}', 'tool_calls')")
    broken = await verify(db, "thread_1")
    assert {(found.view, found.id) for found in broken} == {
        ("messages", "msg_2"),
        ("runs", "run_1"),
        ("active_runs", "run_1"),
        ("steps", "step_t1"),
        ("steps", "step_forged"),
    }
    by_id = {found.id: found for found in broken}
    assert by_id["step_forged"].rebuilt is None
    assert by_id["step_t1"].served is None
    # The comparison changed nothing.
    assert await verify(db, "thread_1") == broken
    await rebuild.rebuild(db, ["thread_1"])
    assert await served_rows(db, "thread_1") == before


async def _history(write: Any) -> None:
    """Versions 1–3 are a thread and two messages, 4–7 a run, 8–10 its tool calls; then outputs,
    changes, an end follow.
    """
    await make_thread(write, "thread_1", "one", "two")
    await write.thread(ORIGIN, "thread_1", run(claim=claim()))
    await write.thread(ORIGIN, "thread_1", finish("", "call_1"))
    await write.thread(ORIGIN, "thread_1", submit("call_1"))
    await write.thread(ORIGIN, "thread_1", ModifyThread({"metadata": {"a": "b"}}))
    await write.thread(ORIGIN, "thread_1", ModifyMessage("msg_2", True, {"c": "d"}))
    await write.thread(ORIGIN, "thread_1", DeleteMessage("msg_1", "user"))
    await write.thread(ORIGIN, "thread_1", cancel())


async def test_readers_see_a_thread_as_it_was(pool: Pool, db: Connection) -> None:
    write = writer(pool)
    await _history(write)
    now = await served_rows(db, "thread_1")
    async with as_of(db, "thread_1", 0):
        with pytest.raises(NotFound):
            await threads.get(db, "proj_1", "thread_1")
    async with as_of(db, "thread_1", 3):
        page = await messages.page(db, "proj_1", "thread_1", Cursor(limit=10, order="asc"))
        assert [message.id for message in page.items] == ["msg_1", "msg_2"]
        with pytest.raises(NotFound):
            await runs.get(db, "proj_1", "thread_1", "run_1")
    async with as_of(db, "thread_1", 10):
        assert (await runs.get(db, "proj_1", "thread_1", "run_1")).status == "requires_action"
        assert (await threads.get(db, "proj_1", "thread_1")).metadata == {}
    async with as_of(db, "thread_1", 10**9):
        assert (await runs.get(db, "proj_1", "thread_1", "run_1")).status == "cancelled"
    assert await served_rows(db, "thread_1") == now


async def test_rows_of_the_deleted(pool: Pool, db: Connection) -> None:
    write = writer(pool)
    await make_assistant(write, "asst_1")
    await write.assistant(ORIGIN, "asst_1", ModifyAssistant({"name": None}))
    assert (await assistants.get(db, "proj_1", "asst_1")).name is None
    await write.assistant(ORIGIN, "asst_1", DeleteAssistant())
    await _history(write)
    await write.thread(ORIGIN, "thread_1", DeleteThread())
    assert [id async for id in rebuild.list_streams(db)] == [("asst_1", 3), ("thread_1", 19)]
    for id in ("asst_1", "thread_1", "nothing"):
        assert await verify(db, id) == []
        await rebuild.rebuild(db, [id])
    assert await served_rows(db, "thread_1") == {}
    ((_, row),) = (await served_rows(db, "asst_1")).items()
    assert (row["deleted"], row["body"]) == (True, b"{}")


async def test_a_log_with_a_hole_is_not_rebuilt(pool: Pool, db: Connection) -> None:
    await make_thread(writer(pool), "thread_1", "one", "two")
    before = await served_rows(db, "thread_1")
    await db.execute("DELETE FROM events WHERE version = 3")
    with pytest.raises(CannotFold, match=r"thread_1 cannot be rebuilt from its events: it has no event 3\b"):
        await rebuild.rebuild(db, ["thread_1"])
    assert await served_rows(db, "thread_1") == before


async def test_a_rebuild_of_right_rows_writes_nothing(pool: Pool, db: Connection) -> None:
    await make_thread(writer(pool), "thread_1", "one")
    before = await db.fetch(
        "SELECT ctid, xmin::text, fence FROM streams UNION ALL SELECT ctid, xmin::text, 0 FROM messages"
    )
    assert await rebuild.rebuild(db, ["thread_1"]) == 2
    assert before == await db.fetch(
        "SELECT ctid, xmin::text, fence FROM streams UNION ALL SELECT ctid, xmin::text, 0 FROM messages"
    )


async def test_a_rebuild_replaces_only_the_rows_that_differ(pool: Pool, db: Connection) -> None:
    await make_thread(writer(pool), "thread_1", "one", "two")
    await db.execute("UPDATE messages SET body = '{}' WHERE message_id = 'msg_2'")
    before = await db.fetchval("SELECT xmin::text FROM messages WHERE message_id = 'msg_1'")
    await rebuild.rebuild(db, ["thread_1"])
    assert await verify(db, "thread_1") == []
    assert before == await db.fetchval("SELECT xmin::text FROM messages WHERE message_id = 'msg_1'")


@pytest.mark.parametrize("unlocked", [0, 1, 2])
async def test_a_stream_that_moves_during_a_rebuild_is_compared_again(
    pool: Pool, db: Connection, monkeypatch: pytest.MonkeyPatch, unlocked: int
) -> None:
    """Each comparison without locks is followed by an append, as long as there is one."""
    write = writer(pool)
    for id in ("thread_1", "thread_2"):
        await write.thread(ORIGIN, id, CREATE)
    await db.execute("DELETE FROM threads")
    compare, appended = rebuild._compare, list[str]()

    async def compare_and_append(*given: Any) -> Any:
        found = await compare(*given)
        appended.append(f"msg_{len(appended)}")
        await write.thread(ORIGIN, "thread_2", add("meanwhile", appended[-1]))
        return found

    monkeypatch.setattr(rebuild, "UNLOCKED_ATTEMPTS", unlocked)
    monkeypatch.setattr(rebuild, "_compare", compare_and_append)
    assert await rebuild.rebuild(db, ["thread_1", "thread_2"]) == 2 + unlocked
    monkeypatch.setattr(rebuild, "_compare", compare)
    assert len(appended) == unlocked
    assert await verify(db, "thread_1") == await verify(db, "thread_2") == []
    assert await db.fetchval("SELECT count(*) FROM messages WHERE thread_id = 'thread_2'") == unlocked


async def test_a_rebuild_that_writes_moves_the_fence_and_no_leaf(pool: Pool, db: Connection) -> None:
    await make_thread(writer(pool), "thread_1", "one")
    before = await event_log.head(db, "thread_1", THREAD)
    await db.execute("DELETE FROM messages")
    await rebuild.rebuild(db, ["thread_1"])
    assert await event_log.head(db, "thread_1", THREAD) == replace(before, fence=before.fence + 1)
    assert await verify(db, "thread_1") == []
    assert await check_leaves(db) == 2


async def test_pages_of_events_are_bounded_in_bytes(
    pool: Pool, db: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _history(writer(pool))
    log = await event_log.read(db, "thread_1")
    monkeypatch.setattr(event_log, "READ_BYTES", 1)
    assert await event_log.read(db, "thread_1") == log[:1]
    assert await event_log.read_range(db, "thread_1", 2, len(log)) == log[1:]
    assert await verify(db, "thread_1") == []


async def test_the_log_as_people_read_it(pool: Pool, db: Connection) -> None:
    await make_thread(writer(pool), "thread_1", "Grüße")
    row = await db.fetchrow("SELECT * FROM events_readable WHERE version = 2")
    assert row is not None
    assert (row["type"], row["actor"], row["request_id"]) == ("message.added", "cli", "req_1")
    if ENCRYPTED:
        assert row["content"] is None
    else:
        assert codec.load(row["content"].encode(), 1).type == "message.added"
