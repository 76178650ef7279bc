"""Continuing the work of the attempt before: its chunks and vectors get the job number of the new attempt.

An attempt ends early if its process stops or dies, or if the database or the storage fails. The chunks of a file that
was parsed to its end are then taken over, and embedding goes on after the last vector. A file that was not parsed to
its end is parsed again. An attempt that is interrupted while it takes over starts from zero the next time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import sql
from service.database import Pool
from service.search.embed_chunks import JobKey
from sql.connection import Connection

# Rows moved in one transaction.
MOVE_BATCH = 1000
WRITE_TIMEOUT = 60.0

_SQL = sql.queries("chunks")


async def has_all_chunks(db: Connection, key: JobKey) -> bool:
    """Returns whether the job has written all chunks of its file."""
    return bool(await db.fetchval(_SQL["has_all_chunks"], key.store_id, key.file_id, key.job))


async def take_over(
    pool: Pool, key: JobKey, previous: int, model: str, check: Callable[[Connection], Awaitable[None]]
) -> None:
    """Moves the rows of the job `previous` to the job of `key`, and deletes its vectors of models other than `model`.

    Each transaction begins with `check`, which raises if the write is no longer allowed.
    """
    async with pool.acquire() as db, db.transaction():
        await check(db)
        if await db.fetchval(_SQL["uncount_file"], key.store_id, key.file_id, previous):
            await db.execute(_SQL["count_words"], key.store_id, key.file_id, previous, -1, timeout=WRITE_TIMEOUT)
    given = (key.store_id, key.file_id, previous, key.job, MOVE_BATCH)
    await _repeat(pool, _SQL["move_chunks"], *given, check=check)
    await _repeat(pool, _SQL["move_vectors"], *given, model, check=check)
    await _repeat(pool, _SQL["delete_vectors"], key.store_id, key.file_id, previous, None, MOVE_BATCH, check=check)
    async with pool.acquire() as db, db.transaction():
        await check(db)
        await db.execute(_SQL["move_file"], key.store_id, key.file_id, previous, key.job)
        await db.execute(_SQL["delete_file"], key.store_id, key.file_id, previous)


async def _repeat(pool: Pool, query: str, *given: object, check: Callable[[Connection], Awaitable[None]]) -> None:
    """Repeats a statement for MOVE_BATCH rows until it finds fewer."""
    count = MOVE_BATCH
    while count == MOVE_BATCH:
        async with pool.acquire() as db, db.transaction():
            await check(db)
            count = int((await db.execute(query, *given, timeout=WRITE_TIMEOUT)).rsplit(" ", 1)[-1])
