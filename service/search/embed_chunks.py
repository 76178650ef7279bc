"""Embedding the chunks of a file, window by window: chunks are read from the database and vectors are written to it.

The chunks are read in order, a page at a time, also while further chunks are being written. A window that two
neighbouring chunks share is embedded once for both, so the windows of a page's last chunk wait for the next page.
Several batches are embedded at the same time. Their vectors are written in the order of the windows' numbers, because a
later attempt goes on after the last number.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from typing import NamedTuple

import asyncpg
import orjson

import sql
from service.database import Pool
from service.search.embed.base import Embedder, Vector
from service.search.vector_tables import VectorTable, VectorTables
from sql.connection import Connection

# Chunks read back at once.
PAGE = 64
# Vectors written at once, unless fewer are left.
WRITE = 32
WRITE_TIMEOUT = 60.0

# The ids of a store and a file, and the number of the job that wrote the chunks.


class JobKey(NamedTuple):
    """Names the chunks and vectors of one job. `job` is its number among the jobs of the file in that store."""

    store_id: str
    file_id: str
    job: int


_SQL = sql.queries("chunks")


@dataclass(slots=True)
class _PendingWindow:
    """A part of the text that is to be embedded, for the chunks from `first` to `last`."""

    text: str
    first: int
    last: int
    number: int


EmbeddedWindow = tuple[_PendingWindow, Vector]
# Waits for the turn of a file, and holds it within the context.
Turn = Callable[[], AbstractAsyncContextManager[None]]


@dataclass(slots=True)
class EmbeddingProgress:
    """The progress of embedding a file: counts of chunks and windows, and the windows that are not embedded yet.

    The keys of `pending` are spans of the file's text: first and last character. The first `embedded` windows have
    vectors of an earlier attempt.
    """

    chunks: int = 0
    windows: int = 0
    dimensions: int = 0
    embedded: int = 0
    pending: OrderedDict[tuple[int, int], _PendingWindow] = field(default_factory=OrderedDict)

    def add(self, row: asyncpg.Record, *, needs_windows: bool) -> None:
        """Adds the windows of a chunk to `pending`. Blank windows are left out, because no query can match them."""
        text: str = row["text"]
        cuts = row["cuts"] if needs_windows else [0]
        for begin, end in zip(cuts, [*cuts[1:], len(text)], strict=True):
            part = text[begin:end]
            span = (row["start"] + begin, row["start"] + end)
            if part.isspace():
                continue
            if span in self.pending:
                self.pending[span].last = row["chunk"]
                continue
            self.pending[span] = _PendingWindow(part, row["chunk"], row["chunk"], self.windows)
            self.windows += 1
        self.chunks += 1

    def pop_ready(self, last: int | None, count: int) -> list[_PendingWindow]:
        """Removes and returns at most `count` windows that no chunk after `last` can share.

        `last` is None if there are no more chunks, so that every window is ready.
        """
        ready = [span for span, window in self.pending.items() if last is None or window.last < last]
        done = [span for span in ready if self.pending[span].number < self.embedded]
        for span in done:
            del self.pending[span]
        ready = ready[len(done) :]  # windows are embedded in the order of their numbers
        return [self.pending.pop(span) for span in ready[:count]]


class ChunkSource:
    """Announces that chunks of a file have been written, and whether they are all of its chunks."""

    def __init__(self, *, is_complete: bool) -> None:
        self.is_complete = is_complete
        self._news = asyncio.Event()

    def announce(self) -> None:
        self._news.set()

    def complete(self) -> None:
        self.is_complete = True
        self._news.set()

    async def wait(self) -> None:
        """Returns after an announcement that came since the last call."""
        await self._news.wait()
        self._news.clear()


class VectorWriter:
    """Embeds windows, several batches at the same time, and writes their vectors in the order of the windows."""

    def __init__(
        self,
        tasks: asyncio.TaskGroup,
        embedder: Embedder,
        turn: Turn,
        write: Callable[[Sequence[EmbeddedWindow]], Awaitable[None]],
    ) -> None:
        self._tasks = tasks
        self._embedder = embedder
        self._turn = turn
        self._write = write
        self._requests: deque[tuple[Sequence[_PendingWindow], asyncio.Task[list[Vector]]]] = deque()
        self._embedded: list[EmbeddedWindow] = []

    async def add(self, windows: Sequence[_PendingWindow]) -> None:
        """Embeds the windows in the background. Waits if as many batches as are useful are being embedded."""
        if len(self._requests) >= self._embedder.at_once:
            await self._collect()
        request = self._tasks.create_task(self._embed([window.text for window in windows]))
        self._requests.append((windows, request))

    async def flush(self) -> None:
        """Returns when the vectors of all windows are written."""
        while self._requests:
            await self._collect()
        await self._write_embedded()

    async def _embed(self, texts: Sequence[str]) -> list[Vector]:
        async with self._turn():
            return await self._embedder.embed(texts)

    async def _collect(self) -> None:
        """Waits for the oldest batch."""
        windows, request = self._requests.popleft()
        self._embedded += zip(windows, await request, strict=True)
        if len(self._embedded) >= WRITE:
            await self._write_embedded()

    async def _write_embedded(self) -> None:
        if self._embedded:
            await self._write(self._embedded)
            self._embedded = []


async def embed_chunks(
    pool: Pool,
    tables: VectorTables,
    embedder: Embedder,
    key: JobKey,
    check: Callable[[Connection], Awaitable[None]],
    source: ChunkSource,
    *,
    turn: Turn = nullcontext,
) -> EmbeddingProgress:
    """Writes the vectors of all chunks under `key`, except for those that exist. Returns after `source` is complete.

    Each batch is embedded in a `turn`, a context. Each write's transaction begins with `check`, which raises if the
    write is no longer allowed. Raises EmbeddingError and the errors of `check` and of the database.
    """
    progress = EmbeddingProgress()
    async with pool.acquire() as db:
        known = await tables.find(db, embedder.name)
        if known is not None:
            progress.dimensions = known.dimensions
            progress.embedded = await db.fetchval(
                _SQL["next_window"], key.store_id, key.file_id, key.job, known.model_id
            )

    async def write(embedded: Sequence[EmbeddedWindow]) -> None:
        table = await tables.find_or_create(embedder.name, len(embedded[0][1]))
        progress.dimensions = table.dimensions
        async with pool.acquire() as db, db.transaction():
            await check(db)
            await _insert(db, key, table, embedded)

    try:
        async with asyncio.TaskGroup() as tasks:
            await _embed_all(pool, key, source, progress, embedder, VectorWriter(tasks, embedder, turn, write))
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None
    return progress


async def _embed_all(
    pool: Pool, key: JobKey, source: ChunkSource, progress: EmbeddingProgress, embedder: Embedder, writer: VectorWriter
) -> None:
    """Reads chunks page by page and passes their windows to the writer, until `source` is complete."""
    after = -1
    while True:
        is_complete = source.is_complete
        async with pool.acquire() as db:
            rows = await db.fetch(_SQL["page"], key.store_id, key.file_id, key.job, after, PAGE)
        for row in rows:
            progress.add(row, needs_windows=embedder.needs_windows)
        after = rows[-1]["chunk"] if rows else after
        last = None if is_complete and len(rows) < PAGE else after
        while windows := progress.pop_ready(last, embedder.batch):
            await writer.add(windows)
        if last is None or len(rows) < PAGE:
            await writer.flush()
        if last is None:
            return
        if len(rows) < PAGE:
            await source.wait()


async def _insert(db: Connection, key: JobKey, table: VectorTable, embedded: Sequence[EmbeddedWindow]) -> None:
    await db.execute(
        _SQL["insert_vectors"],
        key.store_id,
        key.file_id,
        key.job,
        table.model_id,
        [window.first for window, _ in embedded],
        [window.last for window, _ in embedded],
        [window.number for window, _ in embedded],
        [orjson.dumps(list(vector)).decode() for _, vector in embedded],
        timeout=WRITE_TIMEOUT,
    )
