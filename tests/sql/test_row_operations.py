"""An append is one statement that changes everything or nothing."""

from __future__ import annotations

import asyncio

import pytest

from events.thread.commands import DeleteThread
from projections import rebuild, runs
from projections.rebuild import verify
from service.database import Pool
from sql.connection import Connection
from sql.row_operations import HeadMoved, RowMissing, RowOperation, compose, execute_at_once, fill, merge
from tests.events.thread.story import add, cancel, run
from tests.projections.helpers import ORIGIN, make_thread, writer

# Whether a statement of this database waits for a row.
_WAITING = """
SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


async def test_a_row_that_is_missing_stops_the_append(pool: Pool, db: Connection) -> None:
    write = writer(pool)
    await make_thread(write, "thread_1", "one")
    await write.thread(ORIGIN, "thread_1", run())
    before = await db.fetch("SELECT * FROM events ORDER BY version")
    await db.execute("DELETE FROM runs")
    with pytest.raises(RowMissing, match=r"runs.patch found no row at version \d"):
        await write.thread(ORIGIN, "thread_1", cancel())
    assert await db.fetch("SELECT * FROM events ORDER BY version") == before


async def test_a_head_that_has_moved_stops_everything(pool: Pool, db: Connection) -> None:
    await make_thread(writer(pool), "thread_1", "one")
    before = [await db.fetch(f"SELECT * FROM {table}") for table in ("streams", "messages", "threads")]
    move = RowOperation("streams.move", ("thread_1", 1, bytes(32), 0, 3, None, 1, b"{}", bytes(32), 0, "thread"))
    with pytest.raises(HeadMoved):
        await execute_at_once(
            db,
            ("streams.move", "messages.delete_all"),
            [move, RowOperation("messages.delete_all", ("thread_1",))],
        )
    assert [await db.fetch(f"SELECT * FROM {table}") for table in ("streams", "messages", "threads")] == before


def test_operations_of_one_block_become_arrays() -> None:
    first = RowOperation("steps.patch", ("thread_1", "step_1", [b"a", b"b"]))
    second = RowOperation("steps.patch", ("thread_1", "step_2", [b"c"]))
    threads, steps = ["thread_1", "thread_1"], ["step_1", "step_2"]
    assert merge([first, second]) == {
        "steps.patch_many": RowOperation("steps.patch_many", (threads, steps, [b"a", b"b", b"c"], [1, 1, 2]))
    }
    assert merge([first]) == merge([first], ["steps.patch", "steps.patch_many"]) == {"steps.patch": first}
    assert list(merge([first], ["steps.patch_many"])) == ["steps.patch_many"]


def test_blocks_without_an_operation_get_nulls() -> None:
    delete = RowOperation("messages.delete", ("thread_1", "msg_1"))
    assert fill(("messages.delete", "runs.modify"), {"messages.delete": delete}) == [
        "thread_1",
        "msg_1",
        None,
        None,
        None,
    ]


def test_parameters_of_a_composed_statement_are_numbered_in_order() -> None:
    text = compose(("streams.move", "messages.delete", "runs.modify"))
    assert "thread_id = $12 AND message_id = $13" in text
    assert "SET patches[1] = $16" in text
    assert text.startswith("WITH head AS (\nUPDATE streams")


async def test_a_race_of_an_append_and_a_deletion_loses_nothing(pool: Pool, db: Connection) -> None:
    """Two processes: both appends wait for the same head, and the second one decides again."""
    for _ in range(5):
        first, second = writer(pool), writer(pool)
        await make_thread(first, "thread_1", "one")
        await asyncio.gather(
            first.thread(ORIGIN, "thread_1", add("two", "msg_2")),
            second.thread(ORIGIN, "thread_1", DeleteThread()),
            return_exceptions=True,
        )
        assert await verify(db, "thread_1") == []
        await db.execute("TRUNCATE streams, events, threads, messages")


async def test_an_append_that_waits_for_a_rebuild_loses_no_row(pool: Pool, db: Connection) -> None:
    """The statement keeps its snapshot while it waits for the head, so it would not see the new row of the run."""
    write = writer(pool)
    await make_thread(write, "thread_1", "one")
    await write.thread(ORIGIN, "thread_1", run())
    async with db.transaction():
        await rebuild.rebuild(db, ["thread_1"])
        appending = asyncio.create_task(write.thread(ORIGIN, "thread_1", cancel()))
        async with asyncio.timeout(60):
            while not await db.fetchval(_WAITING):
                await asyncio.sleep(0)
    await appending
    assert await verify(db, "thread_1") == []
    assert (await runs.get(db, ORIGIN.project_id, "thread_1", "run_1")).status == "cancelled"
