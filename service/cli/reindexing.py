"""Moves vector stores to the embedding model of the settings: `everthread reindex`.

One store follows another while servers keep running. Searches use the old vectors until all new ones are written; then
an event changes the store's model, and the old vectors are deleted. If a server is indexing a file with the old model
at that moment, it notices the change at the end and indexes the file again. An interrupted command can be repeated: it
continues with the remaining files.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import sql
from events.envelope import Origin
from events.errors import NotFound
from events.vector_store.commands import ChangeModel
from service.cli.admin import actor
from service.errors import CommandError
from service.search.embed.base import Embedder, EmbeddingError
from service.search.factory import PostgresSearchEngine
from service.search.reembedder import Reembedder
from service.writer import Writer

# Stores read by one query.
PAGE = 100
_SQL = sql.queries("chunks")


@dataclass(frozen=True, slots=True)
class OldStore:
    """A vector store that has vectors of another model than the settings name."""

    id: str
    project_id: str
    model: str


async def old_stores(writer: Writer, model: str) -> AsyncIterator[OldStore]:
    """Yields the stores that have vectors of another model than `model`."""
    after = ""
    while True:
        async with writer.pool.acquire() as db:
            rows = await db.fetch(_SQL["stores_of_other_models"], after, model, PAGE)
        for row in rows:
            yield OldStore(row["store_id"], row["project_id"], row["embedding_model"])
        if len(rows) < PAGE:
            return
        after = rows[-1]["store_id"]


async def count_chunks(writer: Writer, store: OldStore) -> int:
    """Returns the number of chunks in the store."""
    async with writer.pool.acquire() as db:
        return int(await db.fetchval(_SQL["chunks_of_store"], store.id))


async def move_store(
    writer: Writer, engine: PostgresSearchEngine, store: OldStore, on_file: Callable[[int], None]
) -> None:
    """Moves one store, and calls `on_file` with the number of chunks of each file that is done.

    Raises CommandError if the embedding model fails.
    """
    reembedder = Reembedder(writer.pool, engine.searcher.tables)
    try:
        embedder = engine.embedders.get(engine.indexer.embedding_model)
        await _embed_files(reembedder, store, embedder, on_file)
        try:
            await writer.vector_store(Origin(store.project_id, actor()), store.id, ChangeModel(embedder.name))
        except NotFound:
            return  # the store was deleted in the meantime
        # A server may have indexed more files with the old model before the change.
        await _embed_files(reembedder, store, embedder, lambda _: None)
    except EmbeddingError as error:
        raise CommandError(f"{store.id}: {error.message}") from None
    async for key, _ in reembedder.indexed_files(store.id):
        await reembedder.delete_other_vectors(key, embedder.name)


async def _embed_files(
    reembedder: Reembedder, store: OldStore, embedder: Embedder, on_file: Callable[[int], None]
) -> None:
    async for key, chunks in reembedder.indexed_files(store.id):
        await reembedder.embed(key, chunks, embedder)
        on_file(chunks)
