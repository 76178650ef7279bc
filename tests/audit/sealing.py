"""Seals what waits, without a sequencer, and grows the log of a test's database."""

from __future__ import annotations

from service.database import Pool
from sql.connection import Connection
from tests.events.thread.story import add
from tests.projections.helpers import ORIGIN, make_thread, writer


async def seal(db: Connection) -> int:
    """Moves the rows of log_pending into log_ranges. Returns the size of the log."""
    end: int = await db.fetchval("SELECT coalesce(max(first_index + count), 0) FROM log_ranges")
    rows = await db.fetch("DELETE FROM log_pending RETURNING *")
    for row in sorted(rows, key=lambda row: (row["at"], row["stream_id"], row["first_version"])):
        count = len(row["leaves"]) // 32
        await db.execute(
            "INSERT INTO log_ranges VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)", end, count, *row.values()
        )
        end += count
    return end


async def grow(pool: Pool, db: Connection, thread: str = "thread_1", *, messages: int = 5) -> int:
    """Adds events of a thread to the log. Returns its size."""
    write = writer(pool)
    if not await db.fetchval("SELECT count(*) FROM streams WHERE stream_id = $1", thread):
        await make_thread(write, thread)
    begin = await db.fetchval("SELECT version FROM streams WHERE stream_id = $1", thread)
    for number in range(begin, begin + messages):
        await write.thread(ORIGIN, thread, add("Hi", f"msg_{thread}_{number}"))
    return await seal(db)


async def fill(db: Connection, size: int) -> None:
    """Fills the log up to `size` leaves with leaves of no events, in ranges of 7."""
    end: int = await db.fetchval("SELECT coalesce(max(first_index + count), 0) FROM log_ranges")
    await db.execute(
        """
        INSERT INTO log_ranges
        SELECT first, least(7, $2 - first), now(), 'thread_' || first, 1, 'proj_1', 'cli', NULL, ARRAY ['x'],
            (SELECT string_agg(sha256(int8send(leaf)), '' ORDER BY leaf)
             FROM generate_series(first, least(first + 7, $2) - 1) AS leaf)
        FROM generate_series($1::bigint, $2::bigint - 1, 7) AS first
        """,
        end,
        size,
    )
