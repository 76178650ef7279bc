"""Carries one file on, attempt by attempt, until it has an end in the log or is not this process's any more."""

from __future__ import annotations

import asyncio
from time import monotonic

import structlog

from events.actors import ProcessActor
from events.envelope import Origin
from events.errors import StaleJob
from events.vector_store import events as e
from events.vector_store.commands import FailIndexing, FinishIndexing
from service.database import DATABASE_ERRORS
from service.search.base import Indexer, IndexingFailure, RevokedJob
from service.storage.base import Blobs, StorageError
from service.vector_stores.jobs import Work, failing, finishing, open_job, starting
from service.writer import Ask, Writer

log = structlog.get_logger()

# Seconds between tries, where the database or the storage failed.
RETRY_AFTER = 0.5
MAX_FILE = 512 * 1024**2
TOO_LONG = "Indexing the file took longer than {} seconds."
AWAY = (TimeoutError, *DATABASE_ERRORS)


class Worker:
    """`lifetime` bounds an attempt, in seconds."""

    def __init__(self, writer: Writer, indexer: Indexer, blobs: Blobs, process: int, lifetime: int) -> None:
        self._writer = writer
        self._indexer = indexer
        self._blobs = blobs
        self._process = process
        self._lifetime = lifetime

    async def carry(self, work: Work) -> None:
        """Raises nothing but what it did not foresee; the file is then taken on anew, or its deadline passes."""
        while True:
            try:
                await self._report(work, await self._attempt(work))
            except (RevokedJob, StaleJob):
                return
            except Exception as error:
                foreseen = isinstance(error, (StorageError, *AWAY))
                why = str(error) or type(error).__name__
                log.warning("indexing a file failed; trying again", error=why, exc_info=not foreseen)
                if not await self._again(work):
                    return
            else:
                return

    async def _attempt(self, work: Work) -> Ask[FinishIndexing] | Ask[FailIndexing]:
        """How it ended. Raises RevokedJob, and what is worth another attempt."""
        try:
            async with asyncio.timeout(self._lifetime) as patience:
                async with self._writer.pool.acquire() as db:
                    job = await open_job(db, self._blobs, work, self._writer.clock.now())
                if job is None:
                    raise RevokedJob
                if job.size > MAX_FILE:
                    raise IndexingFailure("invalid_file", f"The file is larger than {MAX_FILE // 1024**2} MB.")
                return finishing(work, await self._indexer.index(job))
        except TimeoutError:
            if not patience.expired():
                raise
            return self._failing(work, "server_error", TOO_LONG.format(self._lifetime))
        except IndexingFailure as error:
            return self._failing(work, error.code, error.message)

    async def _report(self, work: Work, end: Ask[FinishIndexing] | Ask[FailIndexing]) -> None:
        """Writes how it ended. A database that is away is waited for, as long as an attempt may take."""
        until = monotonic() + self._lifetime
        while True:
            try:
                await self._writer.vector_store(self._origin(work), work.store_id, end)
            except AWAY:
                if monotonic() >= until:
                    raise
                await asyncio.sleep(RETRY_AFTER)
            else:
                return

    async def _again(self, work: Work) -> bool:
        """Begins the next attempt, after a while. False where there is none: it was the last, or the file is lost."""
        until = monotonic() + self._lifetime
        while monotonic() < until:
            await asyncio.sleep(RETRY_AFTER)
            start = starting(work.store_id, work.file_id, work.job, self._process, self._lifetime)
            try:
                written = await self._writer.vector_store(self._origin(work), work.store_id, start)
            except AWAY:
                continue
            except StaleJob:
                return False
            [event] = (entry.event for entry in written.recorded)
            if not isinstance(event, e.IndexingStarted):
                return False
            work.job = event.job
            return True
        return False

    def _failing(self, work: Work, code: e.ErrorCode, message: str) -> Ask[FailIndexing]:
        return failing(work.store_id, work.file_id, work.job, code, message)

    def _origin(self, work: Work) -> Origin:
        return Origin(project_id=work.project_id, actor=ProcessActor(self._process))
