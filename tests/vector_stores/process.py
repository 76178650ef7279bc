"""A process that indexes files with a fake indexer, and that can be killed at any moment."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from events.envelope import Origin
from events.file import CreateFile
from events.objects import VectorStore, VectorStoreFile
from events.vector_store.commands import AddFiles, CreateStore, NewFile, RemoveFile, VectorStoreCommand
from events.vector_store.events import Chunking
from projections import vector_store_files as files
from projections import vector_stores as stores
from projections.rows import Cursor
from service.access.storage_quota import StorageQuota
from service.database import Pool, open_pool
from service.feed import Feed
from service.processes.peers import Peers
from service.storage.folder import FolderBlobs
from service.vector_stores.supervisor import IndexingSupervisor
from service.writer import CommandFactory, Writer
from sql.connection import Connection
from tests.clock import CLOCK, IDS
from tests.fake_search_engine import WAIT_S, FakeSearchEngine
from tests.projections.helpers import ORIGIN

STORE = "vs_1"
CREATE = CreateStore(None, None, {}, None, "fake-embeddings", if_missing=True)
AUTO = Chunking(max_chunk_size_tokens=800, chunk_overlap_tokens=400)


class Process:
    """A context manager. `kill` ends the process as kill -9 would, without a change in the database.

    Several processes may share the dictionary `chunks` of their fake search engines.
    """

    def __init__(
        self,
        url: str,
        folder: Path,
        *,
        max_jobs: int = 4,
        lifetime: int = 600,
        chunks: dict[Any, Any] | None = None,
        make_writer: Callable[[Pool, Feed], Writer] | None = None,
    ) -> None:
        self.url = url
        self.blobs = FolderBlobs(folder / "blobs")
        self._bounds = {"max_jobs": max_jobs, "lifetime": lifetime}
        self._chunks = chunks
        self.feed = Feed()
        self._make_writer = make_writer or partial(Writer, clock=CLOCK, ids=IDS)
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self.pool = await open_pool(self.url)
        self.writer = self._make_writer(self.pool, self.feed)
        self.search_engine = FakeSearchEngine(self.pool)
        if self._chunks is not None:
            self.search_engine.chunks = self._chunks
        self.peers = Peers(self.url, ids=IDS, wake=self.feed.wake)
        await self.peers.join()
        self.indexing = IndexingSupervisor(
            self.writer,
            self.search_engine,
            self.blobs,
            self.peers,
            check_quota=StorageQuota(self.pool, None).require_free,
            ids=IDS,
            max_jobs=self._bounds["max_jobs"],
            lifetime=self._bounds["lifetime"],
        )
        self.peers.listen(self.indexing)
        self.feed.listen_to_stores(self.indexing)
        self.feed.listen_to_wakes(self.indexing)
        self.feed.listen_to_stores(self.peers)
        self._tasks = [asyncio.create_task(self.peers.run()), asyncio.create_task(self.indexing.run())]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            if task.done() and not task.cancelled():
                await task  # raises the error that ended it
        await self.kill()

    async def kill(self) -> None:
        if self.peers._db is not None:
            self.peers._db.terminate()
        self.pool.terminate()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=WAIT_S)
        self._tasks = []

    async def stop(self) -> None:
        """Ends the process in order, as SIGTERM does."""
        for task in reversed(self._tasks):
            task.cancel()
            await asyncio.wait({task}, timeout=WAIT_S)
        await self.peers.leave()

    # The actions of clients.

    async def create_files(self, *names: str, origin: Origin = ORIGIN) -> None:
        """Creates files with these names, the ids file-{name}, and their names as their texts, unless they exist."""
        for name in names:
            if not (Path(self.blobs._path) / f"file-{name}").exists():
                await self.blobs.write(f"file-{name}", _pieces(name.encode()))
            digest = hashlib.sha256(name.encode()).hexdigest()
            made = CreateFile(name, "assistants", len(name), digest, "text/plain", None, f"file-{name}")
            await self.writer.file(origin, f"file-{name}", made)

    async def add(
        self, *names: str, store: str = STORE, origin: Origin = ORIGIN, size: int | None = None, **attributes: Any
    ) -> None:
        """Adds these files to the store, which is created if it is missing. Their `size` is that of their names."""
        await self.create_files(*names, origin=origin)
        await self.do(CREATE, store, origin)
        new = [NewFile(f"file-{name}", name, size or len(name), attributes, AUTO) for name in names]

        async def command(db: Connection) -> AddFiles:
            return AddFiles(new, await files.facts(db, store, [file.file_id for file in new]), 10_000)

        await self.do(command, store, origin)

    async def remove(self, name: str, store: str = STORE) -> None:
        async def command(db: Connection) -> RemoveFile:
            return RemoveFile(f"file-{name}", await files.fact(db, store, f"file-{name}"))

        await self.do(command, store)

    async def do(
        self, command: VectorStoreCommand | CommandFactory[Any], store: str = STORE, origin: Origin = ORIGIN
    ) -> None:
        await self.writer.vector_store(origin, store, command)

    # The answers to clients.

    async def store(self, store: str = STORE) -> VectorStore:
        async with self.pool.acquire() as db:
            return await stores.get(db, ORIGIN.project_id, store, CLOCK.now())

    async def files(self, store: str = STORE) -> dict[str, VectorStoreFile]:
        """Returns the files of the store by name."""
        async with self.pool.acquire() as db:
            page = await files.page(db, ORIGIN.project_id, store, Cursor(limit=1000), CLOCK.now())
        return {file.filename: file for file in page.items}

    async def statuses(self, store: str = STORE) -> dict[str, str]:
        return {name: file.status for name, file in (await self.files(store)).items()}

    async def wait_until_indexed(self, store: str = STORE, left: int = 0) -> VectorStore:
        """Waits until at most `left` files of the store are in progress, and returns the store."""
        async with asyncio.timeout(WAIT_S):
            with self.feed.watch(store) as watcher:
                while (found := await self.store(store)).in_progress > left:
                    await watcher.take()
                return found


async def _pieces(content: bytes) -> AsyncIterator[bytes]:
    yield content
