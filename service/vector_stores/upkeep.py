"""Lets go of what time has ended: expired stores, files whose File is gone, chunks that are not live.

Nothing that clients see depends on how soon this runs, for reads look at the clock and at the files themselves, but for
a store's file_counts: where a process dies between a File's end and its removal from stores, the others count anew at
once. Every process does it; two at once do no harm.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import datetime

import structlog

from events.actors import SweepActor
from events.envelope import Origin
from events.errors import DomainError
from events.vector_store.commands import ExpireStore
from projections import vector_store_files as files
from projections import vector_stores as stores
from service.database import DATABASE_ERRORS
from service.search.base import Indexer
from service.vector_stores.operations import remove_file
from service.writer import Writer

log = structlog.get_logger()

# Seconds between looks for stores that have expired; every so many looks all files and chunks are gone through.
LOOK_EVERY = 60.0
LOOKS_PER_SWEEP = 60
LIMIT = 200
MAX_PAGES = 50
# A look that takes longer is given up; the next one goes on where it left.
TIMEOUT = 600.0


class Upkeep:
    def __init__(self, writer: Writer, indexer: Indexer) -> None:
        self._writer = writer
        self._indexer = indexer
        self._left = asyncio.Event()

    def unsettled(self) -> None:
        """A peer came or went: it may have died between a File's end and its removal from stores."""
        self._left.set()

    async def run(self) -> None:
        """Looks until cancelled."""
        look = 0
        self._left.set()
        while True:
            settled = False
            try:
                async with asyncio.timeout(TIMEOUT):
                    if self._left.is_set() or look % LOOKS_PER_SWEEP == 0:
                        self._left.clear()
                        await self.remove_gone(self._writer.clock.now())
                    await self.expire(self._writer.clock.now())
                    if look % LOOKS_PER_SWEEP == 0:
                        await self._indexer.sweep()
                settled = True
            except DATABASE_ERRORS as error:
                log.warning("upkeep of vector stores failed", error=str(error) or type(error).__name__)
            except Exception:
                log.exception("upkeep of vector stores failed")
            look += 1
            await self._pause(settled=settled)

    async def _pause(self, *, settled: bool) -> None:
        """Until something is unsettled; where the last look failed all is, and the next one comes at its time."""
        if not settled:
            await asyncio.sleep(LOOK_EVERY)
            self._left.set()
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_EVERY):
                await self._left.wait()

    async def expire(self, at: datetime) -> None:
        """Writes that expired stores are; whoever listens removes their chunks. Up to MAX_PAGES pages of them."""
        for _ in range(MAX_PAGES):
            async with self._writer.pool.acquire() as db:
                overdue = await stores.find_overdue(db, at, LIMIT)
            for found in overdue:
                try:
                    await self._writer.vector_store(Origin(found.project_id, SweepActor()), found.id, ExpireStore())
                except DomainError as error:
                    log.warning("a vector store could not expire", store_id=found.id, error=error.message)
            if len(overdue) < LIMIT:
                return

    async def remove_gone(self, at: datetime) -> None:
        """Takes files whose File is gone out of their stores: what a crash between the two left. So many at once."""
        for _ in range(MAX_PAGES):
            async with self._writer.pool.acquire() as db:
                gone = await files.find_orphans(db, at, LIMIT)
            for file in gone:
                await remove_file(self._writer, Origin(file.project_id, SweepActor()), file.store_id, file.file_id)
            if len(gone) < LIMIT:
                return
