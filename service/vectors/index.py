"""From a file to its chunks and vectors in the database: the Indexer of `base`.

Three passes, none of which holds a file. The text comes out of the parser, is cut and written as it comes, so that the
parsing process ends soon. Then the chunks are read back and embedded window by window, which takes the time. At last
the file's words are counted. Every write looks first whether the file still is this job's.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Collection, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

import asyncpg
import orjson

import sql
from service.database import Connection, Pool
from service.model.tokens import EncodingName, Tokens
from service.vectors.base import Indexed, IndexingFailed, Job, Stale
from service.vectors.chunks import Chunk, Chunker
from service.vectors.embed.base import Embedder, EmbeddingError
from service.vectors.embed.choose import Embedders
from service.vectors.models import Model, Models
from service.vectors.parse.parser import Parser

ENCODING: EncodingName = "cl100k_base"
# Tokens of one file; the API's limit.
MAX_TOKENS = 5_000_000
# Chunks written, and read back, at once.
PAGE = 64
# Rows deleted in one transaction.
BITE = 1000
# Leftovers looked up at once.
LEFTOVERS = 100
# Attempts whose rows one sweep removes.
SWEPT = 1000
WRITE_TIMEOUT = 60.0

_SQL = sql.queries("chunks")


@dataclass(slots=True)
class _Window:
    """A part of the text to embed, for the chunks from `first` to `last`."""

    text: str
    first: int
    last: int
    number: int


@dataclass(slots=True)
class _Progress:
    """What one attempt has done so far. `spans`: the windows of the last chunk, which the next one may share."""

    text_bytes: int = 0
    chunks: int = 0
    windows: int = 0
    dimensions: int = 0
    waiting: OrderedDict[tuple[int, int], _Window] = field(default_factory=OrderedDict)


class StoredIndexer:
    """An Indexer over our own tables."""

    def __init__(self, pool: Pool, parser: Parser, embedders: Embedders, models: Models, tokens: Tokens) -> None:
        self._pool = pool
        self._parser = parser
        self._embedders = embedders
        self._models = models
        self._tokens = tokens

    @property
    def model(self) -> str:
        return self._embedders.model

    async def index(self, job: Job) -> Indexed:
        """See `Indexer.index`."""
        try:
            embedder = self._embedders.named(job.embedding_model)
            await self._clear(job)
            done = _Progress()
            await self._write_chunks(job, done)
            await self._write_vectors(job, embedder, done)
        except EmbeddingError as error:
            raise IndexingFailed("server_error", error.message) from error
        async with self._pool.acquire() as db, db.transaction():
            await _mine(db, job)
            await db.execute(_SQL["count_words"], *_key(job), 1, timeout=WRITE_TIMEOUT)
            await db.execute(_SQL["finish_file"], *_key(job), done.chunks, done.windows)
        return Indexed(done.text_bytes + 4 * done.dimensions * done.windows, done.chunks)

    async def _clear(self, job: Job) -> None:
        """Removes what earlier attempts left, and begins this one."""
        async with self._pool.acquire() as db:
            while found := await db.fetch(_SQL["older"], job.store_id, job.file_id, LEFTOVERS):
                for row in found:
                    await self._delete(job.store_id, row["file_id"], row["job"])
            async with db.transaction():
                await _mine(db, job)
                await db.execute(_SQL["claim_file"], *_key(job))

    async def _write_chunks(self, job: Job, done: _Progress) -> None:
        await self._tokens.prepare(ENCODING)
        chunker = Chunker(self._pieces, job.max_chunk_tokens, job.overlap_tokens)
        tokens, waiting = 0, list[Chunk]()
        async with aclosing(self._parser.parse(job.filename, job.size, job.read)) as texts:
            async for piece in texts:
                done.text_bytes += len(piece.text.encode())
                made = await asyncio.to_thread(chunker.feed, piece.text, piece.page)
                tokens += sum(chunk.tokens - job.overlap_tokens for chunk in made)
                if tokens > MAX_TOKENS:
                    raise IndexingFailed("invalid_file", f"The file has more than {MAX_TOKENS:,} tokens.")
                waiting += made
                while len(waiting) >= PAGE:
                    await self._write_page(job, waiting[:PAGE])
                    del waiting[:PAGE]
        waiting += await asyncio.to_thread(chunker.end)
        for at in range(0, len(waiting), PAGE):
            await self._write_page(job, waiting[at : at + PAGE])

    async def _write_page(self, job: Job, chunks: Sequence[Chunk]) -> None:
        columns = (
            [chunk.number for chunk in chunks],
            [chunk.start for chunk in chunks],
            [chunk.page for chunk in chunks],
            [chunk.tokens for chunk in chunks],
            ["{" + ",".join(map(str, chunk.cuts)) + "}" for chunk in chunks],
            [chunk.text for chunk in chunks],
        )
        async with self._pool.acquire() as db, db.transaction():
            await _mine(db, job)
            await db.execute(_SQL["insert"], *_key(job), *columns, timeout=WRITE_TIMEOUT)

    async def _write_vectors(self, job: Job, embedder: Embedder, done: _Progress) -> None:
        after = -1
        while True:
            async with self._pool.acquire() as db:
                rows = await db.fetch(_SQL["page"], *_key(job), after, PAGE)
            for row in rows:
                _add(done, row, windowed=embedder.windowed)
            done.chunks += len(rows)
            # What the last chunk has may be the next one's too.
            last = rows[-1]["chunk"] if len(rows) == PAGE else None
            whole = [key for key, window in done.waiting.items() if last is None or window.last < last]
            for at in range(0, len(whole), embedder.batch):
                await self._embed(
                    job, embedder, [done.waiting.pop(key) for key in whole[at : at + embedder.batch]], done
                )
            if last is None:
                return
            after = last

    async def _embed(self, job: Job, embedder: Embedder, windows: list[_Window], done: _Progress) -> None:
        vectors = await embedder.embed([window.text for window in windows])
        model = await self._models.take(embedder.name, len(vectors[0]))
        done.dimensions = model.dimensions
        async with self._pool.acquire() as db, db.transaction():
            await _mine(db, job)
            await insert_vectors(db, _key(job), model, windows, vectors)

    def _pieces(self, text: str) -> list[bytes]:
        return self._tokens.pieces(ENCODING, text)

    async def remove(self, store_id: str, file_ids: Collection[str] | None = None) -> None:
        """See `Indexer.remove`."""
        named = None if file_ids is None else list(file_ids)
        while True:
            async with self._pool.acquire() as db:
                found = await db.fetch(_SQL["leftovers"], store_id, named, LEFTOVERS)
            for row in found:
                await self._delete(store_id, row["file_id"], row["job"])
            if len(found) < LEFTOVERS:
                break
        async with self._pool.acquire() as db:
            await db.execute(_SQL["delete_words"], store_id, timeout=WRITE_TIMEOUT)

    async def sweep(self) -> None:
        """See `Indexer.sweep`."""
        async with self._pool.acquire() as db:
            found = await db.fetch(_SQL["dead"], SWEPT, timeout=WRITE_TIMEOUT)
        for row in found:
            await self._delete(row["store_id"], row["file_id"], row["job"])
        async with self._pool.acquire() as db:
            for store_id in dict.fromkeys(row["store_id"] for row in found):
                await db.execute(_SQL["delete_words"], store_id, timeout=WRITE_TIMEOUT)

    async def _delete(self, store_id: str, file_id: str, job: int) -> None:
        """One attempt's rows, its own last, so that what a crash leaves is found again."""
        key = (store_id, file_id, job)
        async with self._pool.acquire() as db:
            async with db.transaction():
                if await db.fetchval(_SQL["uncount_file"], *key):
                    await db.execute(_SQL["count_words"], *key, -1, timeout=WRITE_TIMEOUT)
            while _rows(await db.execute(_SQL["delete_vectors"], *key, None, BITE, timeout=WRITE_TIMEOUT)) == BITE:
                pass
            while _rows(await db.execute(_SQL["delete_chunks"], *key, BITE, timeout=WRITE_TIMEOUT)) == BITE:
                pass
            await db.execute(_SQL["delete_file"], *key)


async def insert_vectors(
    db: Connection,
    key: tuple[str, str, int],
    model: Model,
    windows: Sequence[_Window],
    vectors: Sequence[Sequence[float]],
) -> None:
    columns = (
        [window.first for window in windows],
        [window.last for window in windows],
        [window.number for window in windows],
        [orjson.dumps(list(vector)).decode() for vector in vectors],
    )
    await db.execute(_SQL["insert_vectors"], *key, model.id, *columns, timeout=WRITE_TIMEOUT)


def _add(done: _Progress, row: asyncpg.Record, *, windowed: bool) -> None:
    """A chunk's windows to those that wait; blank ones say nothing that could be found."""
    text: str = row["text"]
    cuts = row["cuts"] if windowed else [0]
    for begin, end in zip(cuts, [*cuts[1:], len(text)], strict=True):
        part = text[begin:end]
        span = (row["start"] + begin, row["start"] + end)
        if part.isspace():
            continue
        shared = done.waiting.get(span)
        if shared is not None:
            shared.last = row["chunk"]
            continue
        done.waiting[span] = _Window(part, row["chunk"], row["chunk"], done.windows)
        done.windows += 1


async def _mine(db: Connection, job: Job) -> None:
    if not await db.fetchval(_SQL["mine"], *_key(job)):
        raise Stale


def _key(job: Job) -> tuple[str, str, int]:
    return job.store_id, job.file_id, job.number


def _rows(status: str) -> int:
    """The count in "DELETE 12"."""
    return int(status.rsplit(" ", 1)[-1])
