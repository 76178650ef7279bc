"""Sees to it that every file to index has a process at work on it, and that none is stuck.

A file's journal is its store's stream. Taking a file on is an event with a job number, this process and a deadline; its
end is another. The scan takes on what nobody works on and what dead processes left; who died, hangs or was overtaken
cannot report any more, because its job is not the file's. Chunks are written before the end is: a crash between brings
the next attempt, which begins by clearing them.
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
from events.ids import IdSource
from events.vector_store import events as e
from events.vector_store.commands import VectorStoreCommand
from projections import vector_store_files as files
from projections.vector_store_files import StoredFile
from service.peers import Peers
from service.search.base import Indexer
from service.storage.base import Blobs
from service.vector_stores.jobs import Work, failing, starting
from service.vector_stores.worker import AWAY, TOO_LONG, Worker
from service.writer import Ask, Writer

log = structlog.get_logger()

SCAN_EVERY = 1.0
RETRY_AFTER = 0.5
# Busy stores that one scan looks into, and started files that it looks at.
STORES = 200
LIMIT = 200
# Behind a deadline others may end an attempt: its own process does so to the second.
GRACE = timedelta(seconds=5)
# Removals of chunks that wait their turn; what is beyond is left to the sweep.
MAX_REMOVALS = 1_000
Key = tuple[str, str]


class Indexing:
    """`max_jobs` files at once, each attempt for `lifetime` seconds at most."""

    def __init__(
        self,
        writer: Writer,
        indexer: Indexer,
        blobs: Blobs,
        peers: Peers,
        *,
        ids: IdSource,
        max_jobs: int,
        lifetime: int,
    ) -> None:
        self._writer = writer
        self._ids = ids
        self._indexer = indexer
        self._peers = peers
        self._max_jobs = max_jobs
        self._lifetime = lifetime
        self._worker = Worker(writer, indexer, blobs, peers.process, lifetime)
        self._at_work: dict[Key, tuple[Work, asyncio.Task[None]]] = {}
        self._adrift: frozenset[tuple[str, str, int | None]] = frozenset()
        self._removals: asyncio.Queue[tuple[str, str | None]] = asyncio.Queue(MAX_REMOVALS)
        self._doubted: set[str] = set()
        self._looked = 0.0
        self._nudge = asyncio.Event()

    @property
    def active(self) -> int:
        """Files at work in this process."""
        return len(self._at_work)

    def on_store_append(self, store_id: str, recorded: Sequence[RecordedEvent[Any]]) -> None:
        """This process appended to a store: new files are looked for, work on files that are gone stops at once."""
        for entry in recorded:
            match entry.event:
                case e.FilesAdded(files=added):
                    for file in added:
                        self._stop(store_id, file.file_id)
                    self._nudge.set()
                case e.FileRemoved(file_id=file_id):
                    self._stop(store_id, file_id)
                    self._remove(store_id, file_id)
                case e.VectorStoreDeleted() | e.VectorStoreExpired():
                    self._stop(store_id)
                    self._remove(store_id, None)
                case e.BatchCancelled():
                    self._doubt(store_id)
                    self._remove(store_id, None)
                case _:
                    pass

    def on_wake(self, stream_id: str) -> None:
        if stream_id.startswith("vs_"):
            self._doubt(stream_id)

    def unsettled(self) -> None:
        """A peer came or went: what it worked on needs another."""
        self._nudge.set()

    async def run(self) -> None:
        """Supervises until cancelled; work under way is then taken on by whoever lives."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._remove_on())
            while True:
                self._nudge.clear()
                try:
                    wait = await self._scan(tasks)
                except AWAY as error:
                    log.warning("the scan for files to index failed", error=str(error) or type(error).__name__)
                    wait = RETRY_AFTER
                except Exception:
                    log.exception("the scan for files to index failed")
                    wait = SCAN_EVERY
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._nudge.wait()

    async def _scan(self, tasks: asyncio.TaskGroup) -> float:
        """One look. Returns the seconds until the next."""
        await self._judge()
        if not self._peers.held:
            # Peers take us for dead, and would take over at once what we take on.
            return RETRY_AFTER
        if monotonic() - self._looked >= SCAN_EVERY:
            self._looked = monotonic()
            await self._end_overdue()
            await self._recover(tasks)
        room = self._max_jobs - len(self._at_work)
        if room > 0:
            for found in await self._waiting(room):
                await self._take_on(tasks, found)
        return SCAN_EVERY

    async def _waiting(self, room: int) -> list[StoredFile]:
        async with self._writer.pool.acquire() as db:
            # Where to begin is drawn by lot, so that of very many busy stores each has its turn.
            begin = self._ids.new_hex("vs")
            found = await files.find_waiting(db, sorted(self._peers.live), begin, limit=room, stores=STORES)
            if any(file.process is not None for file in found):
                # Its process may have come since we last looked; who took a file on had its lock before.
                live = await self._peers.look(db)
                found = [file for file in found if file.process not in live]
        return found

    async def _end_overdue(self) -> None:
        """Fails attempts that are long overdue in a process that lives. What dead ones left is taken on anew."""
        async with self._writer.pool.acquire() as db:
            found = await files.find_overdue(db, self._writer.clock.now() - GRACE, LIMIT)
        for file in found:
            if file.process in self._peers.live and (file.store_id, file.file_id) not in self._at_work:
                why = TOO_LONG.format(self._lifetime)
                await self._try(file, failing(file.store_id, file.file_id, file.job, "server_error", why))

    async def _recover(self, tasks: asyncio.TaskGroup) -> None:
        """Takes on anew what is ours in the log and not at work here: the answer to some append never came.

        Only what two looks have found, lest it be one that was committed just now and is about to start.
        """
        async with self._writer.pool.acquire() as db:
            held = await files.find_held(db, self._peers.process, LIMIT)
        adrift = {
            (file.store_id, file.file_id, file.job): file
            for file in held
            if (file.store_id, file.file_id) not in self._at_work
        }
        for key in self._adrift & adrift.keys():
            await self._take_on(tasks, adrift[key])
        self._adrift = frozenset(adrift)

    async def _take_on(self, tasks: asyncio.TaskGroup, file: StoredFile) -> None:
        key, process = (file.store_id, file.file_id), self._peers.process
        if key in self._at_work:
            # Added again, and its last attempt is just being stopped.
            return
        for entry in await self._try(file, starting(*key, file.job, process, self._lifetime)):
            if isinstance(entry.event, e.IndexingStarted):
                work = Work(*key, file.project_id, entry.event.job)
                self._at_work[key] = (work, tasks.create_task(self._work(key, work)))

    async def _try(self, file: StoredFile, command: Ask[Any] | VectorStoreCommand) -> Sequence[RecordedEvent[Any]]:
        """What was appended. One file that cannot be acted on must not keep us from the others."""
        origin = Origin(project_id=file.project_id, actor=ProcessActor(self._peers.process))
        try:
            return (await self._writer.vector_store(origin, file.store_id, command)).recorded
        except AWAY:
            raise
        except DomainError as error:
            log.debug("left alone", store_id=file.store_id, file_id=file.file_id, reason=error.message)
        except Exception:
            log.exception("left alone", store_id=file.store_id, file_id=file.file_id)
        return []

    async def _work(self, key: Key, work: Work) -> None:
        structlog.contextvars.bind_contextvars(store_id=work.store_id, file_id=work.file_id)
        try:
            await self._worker.carry(work)
        except Exception:
            log.exception("could not index a file")
        finally:
            del self._at_work[key]
            self._nudge.set()

    def _stop(self, store_id: str, file_id: str | None = None) -> None:
        for (store, file), (_, task) in self._at_work.items():
            if store == store_id and file_id in (None, file):
                task.cancel()

    def _doubt(self, store_id: str) -> None:
        """Work for this store may be in vain: look at once. It may have new files, too."""
        if any(store == store_id for store, _ in self._at_work):
            self._doubted.add(store_id)
        self._nudge.set()

    async def _judge(self) -> None:
        """Stops the work of doubted stores whose job is not the file's any more."""
        while self._doubted:
            store_id = min(self._doubted)
            ours = [work for work, _ in self._at_work.values() if work.store_id == store_id]
            async with self._writer.pool.acquire() as db:
                facts = await files.facts(db, store_id, [work.file_id for work in ours])
            self._doubted.discard(store_id)
            for work in ours:
                fact = facts.get(work.file_id)
                if fact is None or fact.status != "in_progress" or fact.job != work.job:
                    self._stop(store_id, work.file_id)

    def _remove(self, store_id: str, file_id: str | None) -> None:
        with suppress(asyncio.QueueFull):
            self._removals.put_nowait((store_id, file_id))

    async def _remove_on(self) -> None:
        """Removes chunks, one file or store after the other. What fails is left to the sweep."""
        while True:
            store_id, file_id = await self._removals.get()
            try:
                await self._indexer.remove(store_id, None if file_id is None else [file_id])
            except Exception:
                log.exception("chunks are left to the sweep", store_id=store_id)
