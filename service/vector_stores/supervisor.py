"""Assigns a process to every file that is to be indexed, and ends attempts that take too long.

The stream of a vector store is the journal of its files. An attempt starts with an event that holds a job number, the
process and a deadline, and ends with another event. The scan starts attempts for the files that no living process works
on. A process that was taken for dead, hangs or was overtaken cannot end an attempt any more, because its job number is
not the file's current one. Chunks are written before the end of an attempt: if it is broken off in between, the next
attempt takes them over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from time import monotonic
from typing import Any

import structlog

from events.actors import ProcessActor
from events.envelope import Origin, RecordedEvent
from events.errors import DomainError
from events.ids import IdSource, is_vector_store_id
from events.vector_store import events as e
from events.vector_store.commands import VectorStoreCommand
from projections import vector_store_files as files
from projections.vector_store_files import StoredFile, WaitingFile
from service.database import DATABASE_ERRORS
from service.fair_places import OpenPlaces, open_own_places
from service.processes.orphans import SecondSighting, find_orphans
from service.processes.peers import Peers
from service.processes.scan_loop import ScanLoop
from service.search.base import Indexer
from service.storage.base import Blobs
from service.vector_stores.jobs import QuotaCheck, Work, fail_attempt, file_flow, start_attempt
from service.vector_stores.worker import TOO_LONG, Worker
from service.writer import CommandFactory, Writer

log = structlog.get_logger()

SCAN_EVERY_S = 1.0
RETRY_AFTER_S = 0.5
# Maximum number of started files that one scan reads.
LIMIT = 200
# Other processes end an attempt this long after its deadline. Its own process ends it at the deadline.
GRACE = timedelta(seconds=5)
# Flows that wait and that one scan reads, and the files that it finds.
CANDIDATES = 50
# Stores of a flow that one scan reads at least, and files of each, so that one that cannot be started hides no other.
EACH = 4
# Removals of chunks that may wait; the hourly sweep (`upkeep`) removes further chunks.
MAX_REMOVALS = 1_000
# Events that start and stop no work. A vector store that is created gets its files by events of their own.
_Ignored = (
    e.VectorStoreCreated
    | e.VectorStoreModified
    | e.VectorStoreUsed
    | e.EmbeddingModelChanged
    | e.FileAttributesChanged
    | e.IndexingStarted
    | e.IndexingFinished
    | e.IndexingFailed
    | e.IndexingReleased
    | e.BatchCreated
)
# The ids of a store and a file.
FileKey = tuple[str, str]


class IndexingSupervisor:
    """The indexing of files in this process, `lifetime` seconds at most for an attempt.

    `max_jobs` files of one flow are indexed at once, and twice as many in all. A flow is the small files of a project,
    or its large ones; so neither another project nor large files hold up a file for long.
    """

    def __init__(
        self,
        writer: Writer,
        indexer: Indexer,
        blobs: Blobs,
        peers: Peers,
        *,
        check_quota: QuotaCheck,
        ids: IdSource,
        max_jobs: int,
        lifetime: int,
        open_places: OpenPlaces = open_own_places,
    ) -> None:
        self._writer = writer
        self._ids = ids
        self._indexer = indexer
        self._peers = peers
        # A flow of files gets at most `max_jobs` places. As many again are for flows that have none.
        self._places = open_places("files", 2 * max_jobs, reserve=max_jobs)
        self._each = max(EACH, max_jobs)
        self._lifetime = lifetime
        self._worker = Worker(writer, indexer, blobs, check_quota=check_quota, process=peers.process, lifetime=lifetime)
        self._loop = ScanLoop("files_to_index", every_s=SCAN_EVERY_S, retry_s=RETRY_AFTER_S)
        self._tasks: asyncio.TaskGroup | None = None
        self._at_work: dict[FileKey, tuple[Work, asyncio.Task[None]]] = {}
        self._lost_starts: SecondSighting[tuple[str, str, int | None], StoredFile] = SecondSighting()
        self._last_recovery = 0.0
        self._removals: asyncio.Queue[tuple[str, str | None]] = asyncio.Queue(MAX_REMOVALS)
        # Stores whose files may have changed while this process works on them.
        self._stores_to_check: set[str] = set()

    @property
    def active(self) -> int:
        """The number of files at work in this process."""
        return len(self._at_work)

    def on_store_append(self, store_id: str, recorded: Sequence[RecordedEvent[e.VectorStoreEvent]]) -> None:
        """Scans for new files at once, and stops the work on files that were removed."""
        for entry in recorded:
            match entry.event:
                case e.FilesAdded(files=added):
                    for file in added:
                        self._stop(store_id, file.file_id)
                    self._loop.nudge()
                case e.FileRemoved(file_id=file_id):
                    self._stop(store_id, file_id)
                    self._remove(store_id, file_id)
                case e.VectorStoreDeleted() | e.VectorStoreExpired():
                    self._stop(store_id)
                    self._remove(store_id, None)
                case e.BatchCancelled():
                    self._recheck(store_id)
                    self._remove(store_id, None)
                case _:
                    _ignored: _Ignored = entry.event

    def on_wake(self, stream_id: str) -> None:
        """Checks the stream again if it is a vector store, since another process may have changed it."""
        if is_vector_store_id(stream_id):
            self._recheck(stream_id)

    def on_peers_change(self) -> None:
        """Scans at once for the files of a process that died."""
        self._loop.nudge()

    async def run(self) -> None:
        """Indexes until cancelled. The files at work are then released; other processes start new attempts."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            tasks.create_task(self._remove_queued())
            await self._loop.run(self._scan)

    async def _scan(self) -> float:
        """Stops revoked work and starts work that no process does. Returns the seconds until the next scan."""
        await self._stop_revoked_work()
        if not self._peers.has_lock:
            # The peers consider this process dead, and would take over its new work at once.
            return RETRY_AFTER_S
        if monotonic() - self._last_recovery >= SCAN_EVERY_S:
            self._last_recovery = monotonic()
            await self._end_overdue()
            await self._recover()
        if self._places.free > 0:
            for file in await self._find_orphans():
                await self._take_on(file, flow=file_flow(file.project_id, is_large=file.is_large))
        return SCAN_EVERY_S

    async def _find_orphans(self) -> list[WaitingFile]:
        # The first project and store are random, so that each of very many has its turn.
        first = self._ids.new_hex("vs")
        async with self._writer.pool.acquire() as db:
            return await find_orphans(
                db,
                self._peers,
                lambda live: files.find_waiting(db, live, first, limit=CANDIDATES, each=self._each),
            )

    async def _end_overdue(self) -> None:
        """Fails attempts that are long overdue in a living process. Those of dead processes are started again."""
        async with self._writer.pool.acquire() as db:
            found = await files.find_overdue(db, self._writer.clock.now() - GRACE, LIMIT)
        for file in found:
            if file.process in self._peers.live and (file.store_id, file.file_id) not in self._at_work:
                why = TOO_LONG.format(self._lifetime)
                await self._append(file, fail_attempt(file.store_id, file.file_id, file.job, "server_error", why))

    async def _recover(self) -> None:
        """Restarts the files that the log assigns to this process but that it does not work on.

        That happens if the answer to the append of a start was lost. See `SecondSighting`.
        """
        async with self._writer.pool.acquire() as db:
            held = await files.find_held(db, self._peers.process, LIMIT)
        idle = [file for file in held if (file.store_id, file.file_id) not in self._at_work]
        for file in self._lost_starts.confirm({(file.store_id, file.file_id, file.job): file for file in idle}):
            await self._take_on(file)

    async def _take_on(self, file: StoredFile, *, flow: str | None = None) -> None:
        """Starts an attempt for the file and works on it, if its flow can have a place. None needs no place."""
        key = (file.store_id, file.file_id)
        if self._tasks is None or key in self._at_work:
            # If it is at work, it was added again while its last attempt is being stopped.
            return
        if flow is not None and not self._places.try_take(flow):
            return
        has_started = False
        try:
            start = start_attempt(file.store_id, file.file_id, file.job, self._peers.process, self._lifetime)
            for entry in await self._append(file, start):
                if isinstance(entry.event, e.IndexingStarted):
                    work = Work(
                        store_id=file.store_id,
                        file_id=file.file_id,
                        project_id=file.project_id,
                        job=entry.event.job,
                        previous=file.job,
                    )
                    self._at_work[key] = (work, self._tasks.create_task(self._run_worker(key, work, flow)))
                    has_started = True
        finally:
            if flow is not None and not has_started:
                self._places.release(flow)

    async def _append(
        self, file: StoredFile, command: CommandFactory[Any] | VectorStoreCommand
    ) -> Sequence[RecordedEvent[Any]]:
        """Returns the appended events. If it fails it logs the reason: a file that newer software wrote must not stop
        the scan."""
        origin = Origin(project_id=file.project_id, actor=ProcessActor(self._peers.process))
        try:
            return (await self._writer.vector_store(origin, file.store_id, command)).recorded
        except DATABASE_ERRORS:
            raise
        except DomainError as error:
            log.debug("indexing_skipped", store_id=file.store_id, file_id=file.file_id, reason=error.message)
        except Exception:
            log.exception("indexing_skipped", store_id=file.store_id, file_id=file.file_id)
        return []

    async def _run_worker(self, key: FileKey, work: Work, flow: str | None) -> None:
        structlog.contextvars.bind_contextvars(store_id=work.store_id, file_id=work.file_id)
        try:
            await self._worker.run(work)
        except asyncio.CancelledError:
            await self._worker.release(work)
            raise
        except Exception:
            log.exception("indexing_crashed")
        finally:
            del self._at_work[key]
            if flow is not None:
                self._places.release(flow)
            self._loop.nudge()

    def _stop(self, store_id: str, file_id: str | None = None) -> None:
        for (store, file), (_, task) in self._at_work.items():
            if store == store_id and file_id in (None, file):
                task.cancel()

    def _recheck(self, store_id: str) -> None:
        """Scans at once: work for this store may have been revoked, or the store may have new files."""
        if any(store == store_id for store, _ in self._at_work):
            self._stores_to_check.add(store_id)
        self._loop.nudge()

    async def _stop_revoked_work(self) -> None:
        """Stops work in `_stores_to_check` with a job number that is not the file's current one."""
        while self._stores_to_check:
            store_id = min(self._stores_to_check)
            ours = [work for work, _ in self._at_work.values() if work.store_id == store_id]
            async with self._writer.pool.acquire() as db:
                facts = await files.facts(db, store_id, [work.file_id for work in ours])
            self._stores_to_check.discard(store_id)
            for work in ours:
                fact = facts.get(work.file_id)
                if fact is None or fact.status != "in_progress" or fact.job != work.job:
                    self._stop(store_id, work.file_id)

    def _remove(self, store_id: str, file_id: str | None) -> None:
        with suppress(asyncio.QueueFull):
            self._removals.put_nowait((store_id, file_id))

    async def _remove_queued(self) -> None:
        """Removes chunks, one file or store after another, until cancelled. The sweep removes those that fail here."""
        while True:
            store_id, file_id = await self._removals.get()
            try:
                await self._indexer.remove(store_id, None if file_id is None else [file_id])
            except Exception:
                log.exception("chunk_removal_failed", store_id=store_id)
