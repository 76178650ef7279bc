"""Moving a store to another model: its chunks stay, new vectors are made beside the old ones, which go at last.

Until the store is told its new model, searches use the old vectors. What is broken off is gone on with: a file whose
last chunk has a vector of the new model is done.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import sql
from service.database import Pool
from service.search.base import Stale
from service.search.embed.base import Embedder
from service.search.embed_chunks import Key, embed_chunks
from service.search.indexer import BITE, WRITE_TIMEOUT
from service.search.vector_tables import Models
from sql.connection import Connection

# Files looked up at once.
PAGE = 100

_SQL = sql.queries("chunks")


class Mover:
    def __init__(self, pool: Pool, models: Models) -> None:
        self._pool = pool
        self._models = models

    async def files(self, store_id: str) -> AsyncIterator[tuple[Key, int]]:
        """Every indexed file of the store, with its number of chunks."""
        at = ("", 0)
        while True:
            async with self._pool.acquire() as db:
                rows = await db.fetch(_SQL["files_of_store"], store_id, *at, PAGE)
            for row in rows:
                yield (store_id, row["file_id"], row["job"]), row["chunks"]
            if len(rows) < PAGE:
                return
            at = (rows[-1]["file_id"], rows[-1]["job"])

    async def embed(self, key: Key, chunks: int, embedder: Embedder) -> None:
        """Makes the file's vectors of that model, where they are not there. Raises EmbeddingError."""
        async with self._pool.acquire() as db:
            model = await self._models.find(db, embedder.name)
            if model is not None:
                if await db.fetchval(_SQL["is_embedded"], *key, model.id, chunks):
                    return
                await db.execute(_SQL["delete_unfinished"], *key, model.id, timeout=WRITE_TIMEOUT)
        try:
            await embed_chunks(self._pool, self._models, embedder, key, lambda db: _there(db, key))
        except Stale:
            return  # the file was removed meanwhile

    async def drop_others(self, key: Key, name: str) -> None:
        """Deletes the file's vectors of all other models."""
        async with self._pool.acquire() as db:
            model = await self._models.find(db, name)
            if model is None:
                return
            while (await db.execute(_SQL["delete_vectors"], *key, model.id, BITE, timeout=WRITE_TIMEOUT)).endswith(
                f" {BITE}"
            ):
                pass


async def _there(db: Connection, key: Key) -> None:
    if not await db.fetchval(_SQL["still_there"], *key):
        raise Stale
