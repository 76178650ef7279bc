"""The vector stores of the tool file_search, over the views, the feed and the Writer."""

from __future__ import annotations

from collections.abc import Sequence

from events.actors import RunActor
from events.envelope import Origin
from projections import vector_stores
from service.tools.file_search import SearchedStore
from service.vector_stores import operations
from service.writer import Writer


class VectorStoreLookup:
    """Implements `SearchedStores`."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def find(self, project_id: str, store_ids: Sequence[str]) -> list[SearchedStore]:
        if not store_ids:
            return []
        async with self._writer.pool.acquire() as db:
            there = await vector_stores.find(db, project_id, store_ids, self._writer.clock.now())
        found = [there[id] for id in store_ids if id in there]
        return [
            SearchedStore(
                id=one.id,
                model=one.embedding_model,
                is_expired=one.expired,
                is_indexing=one.in_progress > 0,
                is_empty=one.completed == 0,
            )
            for one in found
        ]

    async def wait_until_indexed(self, project_id: str, store_ids: Sequence[str], patience_s: float) -> None:
        await operations.wait_until_indexed(self._writer, project_id, store_ids, patience_s)

    async def record_use(self, project_id: str, store_ids: Sequence[str]) -> None:
        async with self._writer.pool.acquire() as db:
            there = await vector_stores.find(db, project_id, store_ids, self._writer.clock.now())
        await operations.record_use(self._writer, Origin(project_id, RunActor()), list(there.values()))
