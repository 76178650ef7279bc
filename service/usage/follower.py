"""Follows the log for the reports of usage and of runs, and for lists of runs.

It is a background task of every process, of which one works at a time.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from projections import run_listing, run_outcomes, usage
from projections.log_follower import LogFollower, follow_together
from service.database import Pool
from service.processes.scan_loop import ScanLoop
from service.tasks.background import background
from sql.connection import Connection

# Seconds between two looks at the log. An event is counted at most so long after it got its index.
SCAN_EVERY_S = 2.0
# Ranges of the log that one transaction reads.
PAGE_RANGES = 500
# The followers of runs, from which the list of runs is read.
_RUNS = (run_outcomes.FOLLOWER, run_listing.FOLLOWER)


class UsageFollower:
    """Adds the rows of new events until it is cancelled."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._loop = ScanLoop("usage", every_s=SCAN_EVERY_S)

    async def run(self) -> None:
        """Looks at the log again and again."""
        await self._loop.run(self.scan)

    async def scan(self) -> None:
        """Adds the rows of the events that have an index and are not counted yet."""
        more = True
        while more:
            async with self._pool.acquire() as db, db.transaction():
                more = await follow_together(db, (usage.FOLLOWER, *_RUNS), PAGE_RANGES)


async def catch_up_usage(db: Connection) -> None:
    """Adds the rows of model calls that no server has added yet, also if no server runs."""
    await _catch_up(db, usage.FOLLOWER)


async def catch_up_runs(db: Connection) -> None:
    """Adds the rows of runs that no server has added yet, also if no server runs."""
    for follower in _RUNS:
        await _catch_up(db, follower)


async def _catch_up(db: Connection, follower: LogFollower) -> None:
    more = True
    while more:
        async with db.transaction():
            more = await follower.follow(db, PAGE_RANGES, waits=True)


async def rebuild_usage(db: Connection) -> None:
    """Makes the rows of all reports again from the log. Readers see the old rows until all are made."""
    async with db.transaction():
        for follower in (usage.FOLLOWER, *_RUNS):
            await follower.rebuild(db, PAGE_RANGES)


@asynccontextmanager
async def usage_lifespan(pool: Pool) -> AsyncIterator[None]:
    """Follows the log while the context is open."""
    async with background(UsageFollower(pool).run()):
        yield
