"""Reads the timeline of a run from the log, also while the run goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

from events.envelope import RecordedEvent
from events.errors import NotFound
from projections import run_listing
from service.database import Pool
from service.replay.deletions import deleted_since
from service.replay.run_timeline import RunTimeline, TimelineEntry, appends_of
from service.replay.stream_fold import read_slices
from service.tools.base import CrashPolicy
from sql import queries

# Seconds between two looks at a run that goes on.
FOLLOW_EVERY_S = 0.5
_SQL = queries("replay")


async def thread_of_run(pool: Pool, run_id: str) -> str:
    """Returns the id of the run's thread, also of a deleted one. Raises NotFound.

    All runs are read if no server has followed the log up to the run's beginning.
    """
    async with pool.acquire() as db:
        listed = await run_listing.find(db, run_id)
        found: str | None = await db.fetchval(_SQL["thread_of_run"], run_id) if listed is None else listed.thread_id
    if found is None:
        raise NotFound("run", run_id)
    return found


class RunReader:
    """Reads a run. `version` is that of the last event that was read.

    Contents of deleted messages, and runs of deleted threads, are left out unless `sees_deleted`.
    """

    def __init__(
        self,
        pool: Pool,
        thread_id: str,
        run_id: str,
        after_crash: Callable[[str], CrashPolicy],
        *,
        sees_deleted: bool = False,
    ) -> None:
        self.timeline = RunTimeline(thread_id, run_id, after_crash)
        self.version = 0
        self._sees_deleted = sees_deleted
        # The events that were read last, whose append may go on.
        self._waiting: list[RecordedEvent[Any]] = []
        self.pool = pool
        self.thread_id = thread_id

    async def entries(self) -> AsyncGenerator[TimelineEntry, None]:
        """Yields the entries of the events that the log has now and that were not read before.

        Raises NotFound if the thread is deleted and the reader may not see that.
        """
        async for batch in self.slices():
            for entry in batch:
                yield entry

    async def slices(self) -> AsyncGenerator[list[TimelineEntry], None]:
        """Yields the entries of `entries` a slice of the log at a time. A later call goes on behind the last slice.

        Raises NotFound as `entries` does.
        """
        if not self._sees_deleted:
            self.timeline.hidden |= await deleted_since(self.pool, self.thread_id, self.version)
            if self.thread_id in self.timeline.hidden:
                raise NotFound("run", self.timeline.run_id)
        async with aclosing(read_slices(self.pool, self.thread_id, after=self.version)) as pages:
            async for page in pages:
                *whole, last = appends_of([*self._waiting, *page])
                self._waiting, self.version = last, page[-1].version
                yield [entry for append in whole for entry in self.timeline.add(append)]
        waiting, self._waiting = self._waiting, []
        yield list(self.timeline.add(waiting))

    async def follow(self) -> AsyncIterator[TimelineEntry]:
        """Yields the entries of the run until it has ended. Yields nothing if the thread has no such run."""
        is_found = False
        while True:
            async for entry in self.entries():
                is_found = True
                yield entry
            if self.timeline.has_ended or not is_found:
                return
            await asyncio.sleep(FOLLOW_EVERY_S)
