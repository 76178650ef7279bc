"""Changes of tables while servers are at work."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic

import asyncpg

from sql import queries
from sql.connection import Connection

# Seconds between two tries of a change that waited 2 s for a lock in vain (`limit_lock_wait`).
LOCK_PAUSE_S = 0.5

_SQL = queries("migrations")


async def change_tables(
    db: Connection, change: Callable[[], Awaitable[object]], *, wait_s: float, on_wait: Callable[[], None]
) -> None:
    """Makes a change in a transaction.

    Appends wait behind a lock that it waits for, so it waits briefly, and tries again.

    `on_wait` is called before each further try. Raises LockNotAvailableError if the change has no lock after `wait_s`
    seconds.
    """
    until = monotonic() + wait_s
    while True:
        try:
            async with db.transaction():
                await db.execute(_SQL["limit_lock_wait"])
                await change()
            return
        except asyncpg.LockNotAvailableError:
            if monotonic() >= until:
                raise
            on_wait()
            await asyncio.sleep(LOCK_PAUSE_S)
