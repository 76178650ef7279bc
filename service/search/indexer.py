"""Indexing a file into the database: the Indexer of `base`.

Nothing holds the whole file. The parser's text is cut into chunks and written as it arrives, so that the parsing
process ends soon. Meanwhile the chunks are read back and embedded window by window, which takes most of the time.
Finally the file's words are counted. Every write first checks that the file still belongs to this job. An attempt
continues where the attempt before was broken off (`continuation`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from contextlib import aclosing

import sql
from service.database import Pool
from service.fair_places import FairPlaces, OpenPlaces, open_own_places
from service.model.tokens import Tokens
from service.model.vocabularies import EncodingName
from service.search.base import IndexingFailure, IndexingInterrupted, IndexingJob, IndexingResult, RevokedJob
from service.search.chunks import Chunk, Chunker
from service.search.continuation import has_all_chunks, take_over
from service.search.embed.base import Embedder, EmbedderDied, EmbeddingError
from service.search.embed.factory import Embedders
from service.search.embed_chunks import ChunkSource, EmbeddingProgress, JobKey, embed_chunks
from service.search.parse.parser import Parser
from service.search.parse.types import format_of
from service.search.vector_tables import VectorTables
from service.search.word_renewal import WordRenewal
from service.search.words import WORD_RULES, divide_text
from sql.connection import Connection

ENCODING: EncodingName = "cl100k_base"
# Tokens of one file; the API's limit.
MAX_TOKENS = 5_000_000
# Chunks written at once.
PAGE = 64
# Rows deleted in one transaction.
DELETE_BATCH = 1000
# Dead jobs looked up at once.
DEAD_JOBS_PAGE = 100
# Dead jobs whose rows one sweep deletes.
SWEEP_LIMIT = 1000
WRITE_TIMEOUT = 60.0
# Batches that are embedded at once for flows of files that have none, beyond those that use the model fully.
RESERVED = 1

_SQL = sql.queries("chunks")


class StoreModelChanged(Exception):
    """The store was moved to another embedding model while a file was being indexed; the file needs a new attempt."""


class PostgresIndexer:
    """An Indexer over our own tables."""

    def __init__(
        self,
        *,
        pool: Pool,
        parser: Parser,
        embedders: Embedders,
        tables: VectorTables,
        tokens: Tokens,
        open_places: OpenPlaces = open_own_places,
    ) -> None:
        self._pool = pool
        self._parser = parser
        self._embedders = embedders
        self._tables = tables
        self._tokens = tokens
        self._open_places = open_places
        # The turns of flows of files (see `IndexingJob.flow`) for each embedding model. One place is for flows that
        # have none, so that the first batch of a small file waits for no batch of large ones.
        self._turns: dict[str, FairPlaces] = {}

    @property
    def embedding_model(self) -> str:
        return self._embedders.default_model

    def can_index(self, filename: str) -> bool:
        return format_of(filename) is not None

    async def index(self, job: IndexingJob) -> IndexingResult:
        """See `Indexer.index`. Also raises StoreModelChanged."""
        key = JobKey(job.store_id, job.file_id, job.number)
        try:
            embedder = self._embedders.get(job.embedding_model)
            source = ChunkSource(is_complete=await self._begin(job))
            progress = await self._write_and_embed(job, key, embedder, source)
        except EmbedderDied as error:
            raise IndexingInterrupted(error.message) from error
        except EmbeddingError as error:
            raise IndexingFailure("server_error", error.message) from error
        async with self._pool.acquire() as db, db.transaction():
            await _check_job(db, job)
            if await db.fetchval(_SQL["model_of_store"], job.store_id) not in (job.embedding_model, None):
                raise StoreModelChanged
            await db.execute(_SQL["count_words"], job.store_id, job.file_id, job.number, 1, timeout=WRITE_TIMEOUT)
            await db.execute(
                _SQL["finish_file"],
                job.store_id,
                job.file_id,
                job.number,
                progress.chunks,
                progress.windows,
            )
            text_bytes = await db.fetchval(
                _SQL["text_bytes"], job.store_id, job.file_id, job.number, timeout=WRITE_TIMEOUT
            )
        return IndexingResult(text_bytes + 4 * progress.dimensions * progress.windows, progress.chunks)

    async def _begin(self, job: IndexingJob) -> bool:
        """Deletes the rows of earlier attempts, except for those that this attempt continues, and writes its own row.

        Returns whether all chunks of the file exist, because the attempt before wrote them.
        """
        key, kept = JobKey(job.store_id, job.file_id, job.number), job.previous
        async with self._pool.acquire() as db:
            if kept is not None and not await has_all_chunks(db, key._replace(job=kept)):
                kept = None
            while rows := await db.fetch(_SQL["attempts"], job.store_id, job.file_id, DEAD_JOBS_PAGE, kept):
                for row in rows:
                    await self._delete(job.store_id, row["file_id"], row["job"])
            async with db.transaction():
                await _check_job(db, job)
                await db.execute(_SQL["claim_file"], job.store_id, job.file_id, job.number)
        if kept is not None:
            await take_over(self._pool, key, kept, job.embedding_model, lambda db: _check_job(db, job))
        return kept is not None

    async def _write_and_embed(
        self, job: IndexingJob, key: JobKey, embedder: Embedder, source: ChunkSource
    ) -> EmbeddingProgress:
        """Embeds the chunks of the file, and writes them meanwhile unless they exist. Raises the first error."""
        turns = self._turns.get(embedder.name)
        if turns is None:
            name, places = f"embedding {embedder.name}", embedder.at_once + RESERVED
            turns = self._turns[embedder.name] = self._open_places(name, places, reserve=RESERVED)
        try:
            async with asyncio.TaskGroup() as tasks:
                if not source.is_complete:
                    tasks.create_task(self._write_chunks(job, source))
                return await embed_chunks(
                    self._pool,
                    self._tables,
                    embedder,
                    key,
                    lambda db: _check_job(db, job),
                    source,
                    turn=lambda: turns.hold(job.flow),
                )
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None

    async def _write_chunks(self, job: IndexingJob, source: ChunkSource) -> None:
        """Writes the chunks of the file, and announces them to `source`."""
        await self._tokens.prepare(ENCODING)
        chunker = Chunker(self._tokenize, job.max_chunk_tokens, job.overlap_tokens)
        tokens, count, pending = 0, 0, list[Chunk]()
        async with aclosing(self._parser.parse(job.filename, job.size, job.read, flow=job.flow)) as texts:
            async for piece in texts:
                chunks = await asyncio.to_thread(chunker.feed, piece.text, piece.page)
                tokens += sum(chunk.tokens - job.overlap_tokens for chunk in chunks)
                if tokens > MAX_TOKENS:
                    raise IndexingFailure("invalid_file", f"The file has more than {MAX_TOKENS:,} tokens.")
                pending += chunks
                while len(pending) >= PAGE:
                    await self._write_page(job, pending[:PAGE])
                    del pending[:PAGE]
                    count += PAGE
                    source.announce()
        pending += await asyncio.to_thread(chunker.end)
        for at in range(0, len(pending), PAGE):
            await self._write_page(job, pending[at : at + PAGE])
        count += len(pending)
        async with self._pool.acquire() as db, db.transaction():
            await _check_job(db, job)
            await db.execute(_SQL["complete_chunks"], job.store_id, job.file_id, job.number, count, WORD_RULES)
        source.complete()

    async def _write_page(self, job: IndexingJob, chunks: Sequence[Chunk]) -> None:
        words = await asyncio.to_thread(lambda: [divide_text(chunk.text) for chunk in chunks])
        async with self._pool.acquire() as db, db.transaction():
            await _check_job(db, job)
            await db.execute(
                _SQL["insert"],
                job.store_id,
                job.file_id,
                job.number,
                [chunk.number for chunk in chunks],
                [chunk.start for chunk in chunks],
                [chunk.page for chunk in chunks],
                [chunk.tokens for chunk in chunks],
                ["{" + ",".join(map(str, chunk.cuts)) + "}" for chunk in chunks],
                [chunk.text for chunk in chunks],
                [each.language for each in words],
                [None if each.spaced == chunk.text else each.spaced for each, chunk in zip(words, chunks, strict=True)],
                [each.pairs for each in words],
                timeout=WRITE_TIMEOUT,
            )

    def _tokenize(self, text: str) -> list[bytes]:
        return self._tokens.token_bytes(ENCODING, text)

    async def remove(self, store_id: str, file_ids: Collection[str] | None = None) -> None:
        """See `Indexer.remove`."""
        files = None if file_ids is None else list(file_ids)
        while True:
            async with self._pool.acquire() as db:
                rows = await db.fetch(_SQL["dead_jobs_of_store"], store_id, files, DEAD_JOBS_PAGE)
            for row in rows:
                await self._delete(store_id, row["file_id"], row["job"])
            if len(rows) < DEAD_JOBS_PAGE:
                break
        async with self._pool.acquire() as db:
            await db.execute(_SQL["delete_words"], store_id, timeout=WRITE_TIMEOUT)

    async def sweep(self) -> None:
        """See `Indexer.sweep`."""
        async with self._pool.acquire() as db:
            rows = await db.fetch(_SQL["dead_jobs"], SWEEP_LIMIT, timeout=WRITE_TIMEOUT)
        for row in rows:
            await self._delete(row["store_id"], row["file_id"], row["job"])
        async with self._pool.acquire() as db:
            for store_id in dict.fromkeys(row["store_id"] for row in rows):
                await db.execute(_SQL["delete_words"], store_id, timeout=WRITE_TIMEOUT)

    async def renew_words(self) -> int:
        """See `Indexer.renew_words`."""
        return await WordRenewal(self._pool).run()

    async def _delete(self, store_id: str, file_id: str, job: int) -> None:
        """Deletes all rows of a job. The row in `chunk_files` is last, so that the job is found again after a crash."""
        async with self._pool.acquire() as db:
            async with db.transaction():
                if await db.fetchval(_SQL["uncount_file"], store_id, file_id, job):
                    await db.execute(_SQL["count_words"], store_id, file_id, job, -1, timeout=WRITE_TIMEOUT)
            count = DELETE_BATCH
            while count == DELETE_BATCH:
                query, any_model = _SQL["delete_vectors"], None
                count = _row_count(
                    await db.execute(query, store_id, file_id, job, any_model, DELETE_BATCH, timeout=WRITE_TIMEOUT)
                )
            count = DELETE_BATCH
            while count == DELETE_BATCH:
                query = _SQL["delete_chunks"]
                count = _row_count(await db.execute(query, store_id, file_id, job, DELETE_BATCH, timeout=WRITE_TIMEOUT))
            await db.execute(_SQL["delete_file"], store_id, file_id, job)


async def _check_job(db: Connection, job: IndexingJob) -> None:
    """Raises RevokedJob unless the file belongs to the job; if it does, that holds until the transaction ends."""
    if not await db.fetchval(_SQL["lock_file_of_job"], job.store_id, job.file_id, job.number):
        raise RevokedJob


def _row_count(status: str) -> int:
    """Returns the number in a command status such as "DELETE 12"."""
    return int(status.rsplit(" ", 1)[-1])
