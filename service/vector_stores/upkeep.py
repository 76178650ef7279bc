"""Expires vector stores, removes files whose File is deleted from them, deletes chunks that belong to no file, and
renews the words of chunks that an older version indexed.

Clients notice none of it, since reads check the clock and the Files themselves, with one exception: the file_counts of
a store. If a process dies between the deletion of a File and its removal from the stores, the other processes remove it
as soon as they see that the process is dead. Every process does this; two at the same time do no harm.
"""

from __future__ import annotations

import asyncio
from datetime import datetime

import structlog

from events.actors import SweepActor
from events.envelope import Origin
from events.errors import DomainError
from events.vector_store.commands import ExpireStore
from projections import vector_store_files as files
from projections import vector_stores as stores
from service.processes.scan_loop import ScanLoop
from service.search.base import Indexer
from service.vector_stores.operations import remove_file
from service.writer import Writer

log = structlog.get_logger()

# Seconds between scans for expired stores. Every LOOKS_PER_SWEEP-th scan goes through all files and chunks.
LOOK_EVERY_S = 60.0
LOOKS_PER_SWEEP = 60
# Seconds between searches for files whose words are older.
RENEW_EVERY_S = 3_600.0
LIMIT = 200
MAX_PAGES = 50
# A scan that takes longer is cancelled; the next one goes on from there.
TIMEOUT_S = 600.0


class Upkeep:
    """The upkeep of all vector stores."""

    def __init__(self, writer: Writer, indexer: Indexer) -> None:
        self._writer = writer
        self._indexer = indexer
        self._loop = ScanLoop("vector_store_upkeep", every_s=LOOK_EVERY_S, retry_s=LOOK_EVERY_S)
        self._renewal = ScanLoop("words_to_renew", every_s=RENEW_EVERY_S, retry_s=LOOK_EVERY_S)
        self._scans = 0
        self._has_reported_models = False
        # Whether deleted files may be left in stores.
        self._has_leftovers = True

    def on_peers_change(self) -> None:
        """Scans at once: a process may have died between the deletion of a File and its removal from the stores."""
        self._has_leftovers = True
        self._loop.nudge()

    async def run(self) -> None:
        """Scans until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._loop.run(self._scan))
            tasks.create_task(self._renewal.run(self.renew_words))

    async def report_other_models(self) -> None:
        """Logs how many stores keep the vectors of other embedding models than the settings name.

        They are searched by their own models; `everthread reindex` moves them while servers run.
        """
        model = self._indexer.embedding_model
        async with self._writer.pool.acquire() as db:
            for other, count in (await stores.count_by_other_model(db, model)).items():
                log.warning(
                    "vector_stores_of_other_model",
                    stores=count,
                    model=other,
                    new_model=model,
                    remedy="`everthread reindex` moves them to the new model while servers run",
                )

    async def renew_words(self) -> None:
        """Renews the words of all files that an older version indexed: first those that exist at the start, then those
        that a server of that version has indexed meanwhile."""
        count = await self._indexer.renew_words()
        if count:
            log.info("words_renewed", files=count)

    async def _scan(self) -> None:
        is_sweep = self._scans % LOOKS_PER_SWEEP == 0
        self._scans += 1
        must_remove, self._has_leftovers = self._has_leftovers or is_sweep, False
        try:
            async with asyncio.timeout(TIMEOUT_S):
                if not self._has_reported_models:
                    await self.report_other_models()
                    self._has_reported_models = True
                if must_remove:
                    await self.remove_deleted_files(self._writer.clock.now())
                await self.expire(self._writer.clock.now())
                if is_sweep:
                    await self._indexer.sweep()
        except BaseException:
            self._has_leftovers = True
            raise

    async def expire(self, at: datetime) -> None:
        """Expires the stores whose time is up, MAX_PAGES pages at most. The listeners to stores remove their chunks."""
        for _ in range(MAX_PAGES):
            async with self._writer.pool.acquire() as db:
                overdue = await stores.find_overdue(db, at, LIMIT)
            for store in overdue:
                try:
                    await self._writer.vector_store(Origin(store.project_id, SweepActor()), store.id, ExpireStore())
                except DomainError as error:
                    log.warning("vector_store_expiry_failed", store_id=store.id, error=error.message)
            if len(overdue) < LIMIT:
                return

    async def remove_deleted_files(self, at: datetime) -> None:
        """Removes the files from stores whose File is deleted or expired, MAX_PAGES pages at most."""
        for _ in range(MAX_PAGES):
            async with self._writer.pool.acquire() as db:
                deleted = await files.find_orphans(db, at, LIMIT)
            for file in deleted:
                await remove_file(self._writer, Origin(file.project_id, SweepActor()), file.store_id, file.file_id)
            if len(deleted) < LIMIT:
                return
