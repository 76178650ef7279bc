"""From a file to its chunks and vectors in the database: the Indexer of `base`.

Three passes, none of which holds a file. The text comes out of the parser, is cut and written as it comes, so that the
parsing process ends soon. Then the chunks are read back and embedded window by window, which takes the time. At last
the file's words are counted. Every write looks first whether the file still is this job's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from contextlib import aclosing

import sql
from service.database import Pool
from service.model.tokens import EncodingName, Tokens
from service.search.base import Indexed, IndexingFailed, Job, Stale
from service.search.chunks import Chunk, Chunker
from service.search.embed.base import EmbeddingError
from service.search.embed.factory import Embedders
from service.search.embed_chunks import Key, embed_chunks
from service.search.parse.parser import Parser
from service.search.vector_tables import Models
from sql.connection import Connection

ENCODING: EncodingName = "cl100k_base"
# Tokens of one file; the API's limit.
MAX_TOKENS = 5_000_000
# Chunks written at once.
PAGE = 64
# Rows deleted in one transaction.
BITE = 1000
# Leftovers looked up at once.
LEFTOVERS = 100
# Attempts whose rows one sweep removes.
SWEPT = 1000
WRITE_TIMEOUT = 60.0

_SQL = sql.queries("chunks")


class ModelMoved(Exception):
    """The store was moved to another model while a file was indexed with the one before: to be tried again."""


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
        key = _key(job)
        try:
            embedder = self._embedders.named(job.embedding_model)
            await self._clear(job)
            text_bytes = await self._write_chunks(job)
            done = await embed_chunks(self._pool, self._models, embedder, key, lambda db: _mine(db, job))
        except EmbeddingError as error:
            raise IndexingFailed("server_error", error.message) from error
        async with self._pool.acquire() as db, db.transaction():
            await _mine(db, job)
            if await db.fetchval(_SQL["model_of_store"], job.store_id) not in (job.embedding_model, None):
                raise ModelMoved
            await db.execute(_SQL["count_words"], *key, 1, timeout=WRITE_TIMEOUT)
            await db.execute(_SQL["finish_file"], *key, done.chunks, done.windows)
        return Indexed(text_bytes + 4 * done.dimensions * done.windows, done.chunks)

    async def _clear(self, job: Job) -> None:
        """Removes what earlier attempts left, and begins this one."""
        async with self._pool.acquire() as db:
            while found := await db.fetch(_SQL["older"], job.store_id, job.file_id, LEFTOVERS):
                for row in found:
                    await self._delete(job.store_id, row["file_id"], row["job"])
            async with db.transaction():
                await _mine(db, job)
                await db.execute(_SQL["claim_file"], *_key(job))

    async def _write_chunks(self, job: Job) -> int:
        """Returns the bytes of the file's text."""
        await self._tokens.prepare(ENCODING)
        chunker = Chunker(self._pieces, job.max_chunk_tokens, job.overlap_tokens)
        tokens, text_bytes, waiting = 0, 0, list[Chunk]()
        async with aclosing(self._parser.parse(job.filename, job.size, job.read)) as texts:
            async for piece in texts:
                text_bytes += len(piece.text.encode())
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
        return text_bytes

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


async def _mine(db: Connection, job: Job) -> None:
    if not await db.fetchval(_SQL["mine"], *_key(job)):
        raise Stale


def _key(job: Job) -> Key:
    return job.store_id, job.file_id, job.number


def _rows(status: str) -> int:
    """The count in "DELETE 12"."""
    return int(status.rsplit(" ", 1)[-1])
