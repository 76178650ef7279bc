"""Moving a vector store to another embedding model.

The chunks stay. New vectors are written beside the old ones, and the old ones are deleted at the end. Searches use the
old vectors until the store's event names the new model. An interrupted move continues with the next call: a file is
complete if its last chunk has a vector of the new model.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import sql
from service.database import Pool
from service.search.base import RevokedJob
from service.search.embed.base import Embedder
from service.search.embed_chunks import ChunkSource, JobKey, embed_chunks
from service.search.indexer import DELETE_BATCH, WRITE_TIMEOUT
from service.search.vector_tables import VectorTables
from sql.connection import Connection

# Files looked up at once.
PAGE = 100

_SQL = sql.queries("chunks")


class Reembedder:
    """Writes vectors of another model for the indexed files of a store."""

    def __init__(self, pool: Pool, tables: VectorTables) -> None:
        self._pool = pool
        self._tables = tables

    async def indexed_files(self, store_id: str) -> AsyncIterator[tuple[JobKey, int]]:
        """Yields every indexed file of the store, with its number of chunks."""
        after_file, after_job = "", 0
        while True:
            async with self._pool.acquire() as db:
                rows = await db.fetch(_SQL["files_of_store"], store_id, after_file, after_job, PAGE)
            for row in rows:
                yield JobKey(store_id, row["file_id"], row["job"]), row["chunks"]
            if len(rows) < PAGE:
                return
            after_file, after_job = rows[-1]["file_id"], rows[-1]["job"]

    async def embed(self, key: JobKey, chunks: int, embedder: Embedder) -> None:
        """Writes the file's vectors of the embedder's model, unless they are complete. Raises EmbeddingError."""
        async with self._pool.acquire() as db:
            table = await self._tables.find(db, embedder.name)
            if table is not None:
                model_id = table.model_id
                if await db.fetchval(_SQL["is_embedded"], key.store_id, key.file_id, key.job, model_id, chunks):
                    return
                await db.execute(
                    _SQL["delete_unfinished"], key.store_id, key.file_id, key.job, model_id, timeout=WRITE_TIMEOUT
                )
        try:
            all_chunks = ChunkSource(is_complete=True)
            await embed_chunks(self._pool, self._tables, embedder, key, lambda db: _check_chunks(db, key), all_chunks)
        except RevokedJob:
            return  # the file was removed meanwhile

    async def delete_other_vectors(self, key: JobKey, name: str) -> None:
        """Deletes the file's vectors of all models except `name`."""
        async with self._pool.acquire() as db:
            table = await self._tables.find(db, name)
            if table is None:
                return
            status = f" {DELETE_BATCH}"
            while status.endswith(f" {DELETE_BATCH}"):
                status = await db.execute(
                    _SQL["delete_vectors"],
                    key.store_id,
                    key.file_id,
                    key.job,
                    table.model_id,
                    DELETE_BATCH,
                    timeout=WRITE_TIMEOUT,
                )


async def _check_chunks(db: Connection, key: JobKey) -> None:
    """Raises RevokedJob if the job's chunks have been deleted."""
    if not await db.fetchval(_SQL["lock_chunk_file"], key.store_id, key.file_id, key.job):
        raise RevokedJob
