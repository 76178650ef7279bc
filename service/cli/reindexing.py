"""Moves vector stores to the embedding model of the settings: `everthread reindex`.

Store by store, while servers go on: searches use the old vectors until all new ones are there, then the store is told
its new model, then the old vectors go. A server that is indexing a file with the old model at that moment notices when
it is done, and begins the file anew. Asked again after a stop, it goes on with what is left.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import sql
from events.envelope import Origin
from events.errors import NotFound
from events.vector_store.commands import ChangeModel
from service.cli.admin import ACTOR
from service.errors import CommandError
from service.search.embed.base import Embedder, EmbeddingError
from service.search.factory import Vectors
from service.search.reembed import Mover
from service.writer import Writer

# Stores looked up at once.
PAGE = 100
_SQL = sql.queries("chunks")


@dataclass(frozen=True, slots=True)
class OldStore:
    """A store whose vectors are, or partly are, of another model."""

    id: str
    project_id: str
    model: str


async def old_stores(writer: Writer, model: str) -> AsyncIterator[OldStore]:
    """The stores that are to be moved to that model."""
    after = ""
    while True:
        async with writer.pool.acquire() as db:
            rows = await db.fetch(_SQL["stores_of_other_models"], after, model, PAGE)
        for row in rows:
            yield OldStore(row["store_id"], row["project_id"], row["embedding_model"])
        if len(rows) < PAGE:
            return
        after = rows[-1]["store_id"]


async def size(writer: Writer, store: OldStore) -> int:
    """Its chunks."""
    async with writer.pool.acquire() as db:
        return int(await db.fetchval(_SQL["chunks_of_store"], store.id))


async def move(writer: Writer, vectors: Vectors, store: OldStore, moved: Callable[[int], None]) -> None:
    """Moves one store; `moved` is told how many chunks each file had. Raises CommandError."""
    mover = Mover(writer.pool, vectors.searcher.models)
    try:
        embedder = vectors.embedders.named(vectors.indexer.model)
        await _embed(mover, store, embedder, moved)
        try:
            await writer.vector_store(Origin(store.project_id, ACTOR), store.id, ChangeModel(embedder.name))
        except NotFound:
            return  # deleted meanwhile
        # Files that were finished between the last look and the change.
        await _embed(mover, store, embedder, lambda _: None)
    except EmbeddingError as error:
        raise CommandError(f"{store.id}: {error.message}") from None
    async for key, _ in mover.files(store.id):
        await mover.drop_others(key, embedder.name)


async def _embed(mover: Mover, store: OldStore, embedder: Embedder, moved: Callable[[int], None]) -> None:
    async for key, chunks in mover.files(store.id):
        await mover.embed(key, chunks, embedder)
        moved(chunks)
