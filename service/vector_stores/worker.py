"""Works on one file, attempt after attempt, until its indexing has ended or another process has taken it over."""

from __future__ import annotations

import asyncio
from time import monotonic

import structlog

from events.actors import ProcessActor
from events.envelope import Origin
from events.errors import DomainError, Rejection, StaleJob
from events.file import MAX_FILE
from events.vector_store import events as e
from events.vector_store.commands import FailIndexing, FinishIndexing
from service.database import DATABASE_ERRORS
from service.search.base import Indexer, IndexingFailure, IndexingInterrupted, RevokedJob
from service.storage.base import BlobMissing, Blobs, StorageError
from service.storage.checked_read import BlobChanged
from service.vector_stores.jobs import (
    QuotaCheck,
    Work,
    fail_attempt,
    finish_attempt,
    open_job,
    release_attempt,
    start_attempt,
)
from service.writer import CommandFactory, Writer

log = structlog.get_logger()

# Seconds between attempts if the database or the storage fails.
RETRY_AFTER_S = 0.5
# Seconds for the release of the files of a process that stops.
RELEASE_TIMEOUT_S = 2.0
TOO_LONG = "Indexing the file took longer than {} seconds."


class Worker:
    """The worker of one process, whose number is `process`. `lifetime` bounds an attempt, in seconds. A file whose
    project has used up its quota fails."""

    def __init__(
        self, writer: Writer, indexer: Indexer, blobs: Blobs, *, check_quota: QuotaCheck, process: int, lifetime: int
    ) -> None:
        self._writer = writer
        self._indexer = indexer
        self._blobs = blobs
        self._check_quota = check_quota
        self._process = process
        self._lifetime = lifetime

    async def run(self, work: Work) -> None:
        """Works on the file until its indexing has ended, or the job number is not current any more.

        Raises only errors of the worker itself. The file is then started again, or its deadline passes.
        """
        while True:
            try:
                await self._report(work, await self._attempt(work))
            except (RevokedJob, StaleJob):
                return
            except Exception as error:
                is_expected = isinstance(
                    error, (BlobMissing, BlobChanged, IndexingInterrupted, StorageError, *DATABASE_ERRORS)
                )
                why = str(error) or type(error).__name__
                log.warning("indexing_retried", error=why, exc_info=not is_expected)
                if not await self._start_next(work):
                    return
            else:
                return

    async def release(self, work: Work) -> None:
        """Gives the file back, so that the attempt does not count. Does nothing if it has another job number.

        The server stops: if the database does not answer within RELEASE_TIMEOUT_S, the file falls with the process.
        """
        try:
            async with asyncio.timeout(RELEASE_TIMEOUT_S):
                await self._writer.vector_store(self._origin(work), work.store_id, release_attempt(work))
        except (DomainError, *DATABASE_ERRORS) as error:
            log.info("indexing_not_released", error=str(error) or type(error).__name__)

    async def _attempt(self, work: Work) -> CommandFactory[FinishIndexing] | CommandFactory[FailIndexing]:
        """Indexes the file and returns the command that ends the attempt.

        Raises RevokedJob if the job number is not current any more, and errors that are worth another attempt.
        """
        try:
            async with asyncio.timeout(self._lifetime) as patience:
                async with self._writer.pool.acquire() as db:
                    job = await open_job(db, self._blobs, work, self._writer.clock.now())
                if job is None:
                    raise RevokedJob
                if job.size > MAX_FILE:
                    raise IndexingFailure("invalid_file", f"The file is larger than {MAX_FILE // 1024**2} MB.")
                try:
                    await self._check_quota(work.project_id)
                except Rejection as error:
                    raise IndexingFailure("server_error", error.message) from error
                return finish_attempt(work, await self._indexer.index(job))
        except TimeoutError:
            if not patience.expired():
                raise
            return self._failure(work, "server_error", TOO_LONG.format(self._lifetime))
        except IndexingFailure as error:
            return self._failure(work, error.code, error.message)

    async def _report(self, work: Work, end: CommandFactory[FinishIndexing] | CommandFactory[FailIndexing]) -> None:
        """Appends the end of the attempt. Tries for `lifetime` seconds while the database fails."""
        until = monotonic() + self._lifetime
        while True:
            try:
                await self._writer.vector_store(self._origin(work), work.store_id, end)
            except DATABASE_ERRORS:
                if monotonic() >= until:
                    raise
                await asyncio.sleep(RETRY_AFTER_S)
            else:
                return

    async def _start_next(self, work: Work) -> bool:
        """Starts the next attempt after a pause. Returns False if this was the last one or the file was taken over."""
        until = monotonic() + self._lifetime
        while monotonic() < until:
            await asyncio.sleep(RETRY_AFTER_S)
            start = start_attempt(work.store_id, work.file_id, work.job, self._process, self._lifetime)
            try:
                result = await self._writer.vector_store(self._origin(work), work.store_id, start)
            except DATABASE_ERRORS:
                continue
            except StaleJob:
                return False
            [event] = (entry.event for entry in result.recorded)
            if not isinstance(event, e.IndexingStarted):
                return False
            work.previous, work.job = work.job, event.job
            return True
        return False

    def _failure(self, work: Work, code: e.ErrorCode, message: str) -> CommandFactory[FailIndexing]:
        return fail_attempt(work.store_id, work.file_id, work.job, code, message)

    def _origin(self, work: Work) -> Origin:
        return Origin(project_id=work.project_id, actor=ProcessActor(self._process))
