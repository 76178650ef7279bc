"""A vector store as it was, with its files and batches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from events.errors import NotFound, StoreFileNotFound
from events.objects import VectorStore, VectorStoreBatch, VectorStoreFile
from events.streams import VECTOR_STORE
from events.vector_store.decide import NOUN
from projections import vector_stores
from projections.row_store.tables import Row
from projections.rows import Cursor, Page
from projections.vector_store_batches import NOUN as BATCH_NOUN
from projections.vector_store_batches import load_batch
from projections.vector_store_files import load_store_file
from projections.vector_stores import load_store
from service.replay import jsonb
from service.replay.past_pages import read_page
from service.replay.time_travel import PastStream, TimeTravel, Viewer
from service.wire.as_of import AsOf


@dataclass(frozen=True, slots=True)
class PastVectorStore:
    """Reads a vector store at a point in the past. Each read raises the errors of `TimeTravel.open`."""

    travel: TimeTravel
    viewer: Viewer
    store_id: str
    at: AsOf

    async def store(self) -> VectorStore:
        """Returns the store itself."""
        past = await self._open()
        return load_store(past.tables.find("vector_stores", self.store_id), past.moment)

    async def batch(self, batch_id: str) -> VectorStoreBatch:
        """Returns a batch. Raises NotFound."""
        return await self._batch(await self._open(), batch_id)

    async def file(self, file_id: str) -> VectorStoreFile:
        """Returns a file. Raises NotFound."""
        past = await self._open()
        row = past.tables["vector_store_files"].get((self.store_id, file_id))
        if row is None:
            refusal = await self.travel.refusal(past, "file", file_id)
            raise refusal if type(refusal) is not NotFound else StoreFileNotFound(self.store_id, file_id)
        if row["status"] == "removed" or not await self.travel.files_at([file_id], self.viewer, past.moment):
            raise StoreFileNotFound(self.store_id, file_id)
        return _load_file(row)

    async def files(
        self, cursor: Cursor, *, status: str | None = None, batch_id: str | None = None
    ) -> Page[VectorStoreFile]:
        """Returns a page of the files, or of those of one batch. Raises NotFound for the batch and the cursor's ids."""
        past = await self._open()
        if batch_id is not None:
            await self._batch(past, batch_id)
        table = past.tables["vector_store_files"]
        existing = await self.travel.files_at([id for _, id in table], self.viewer, past.moment)

        def is_listed(row: Row) -> bool:
            in_list = row["status"] != "removed" if batch_id is None else row["batch_id"] == batch_id
            return in_list and row["file_id"] in existing and status in (None, row["status"])

        refuse = partial(StoreFileNotFound, self.store_id)
        return await read_page(
            table, self.store_id, cursor, _load_file, is_listed=is_listed, not_found=refuse, has_byte_bound=False
        )

    async def _open(self) -> PastStream:
        past = await self.travel.open(VECTOR_STORE, self.store_id, self.at, self.viewer, (vector_stores.project,))
        if past.tables.find("vector_stores", self.store_id)["deleted"]:
            raise NotFound(NOUN, self.store_id)
        return past

    async def _batch(self, past: PastStream, batch_id: str) -> VectorStoreBatch:
        row = past.tables["vector_store_batches"].get((self.store_id, batch_id))
        if row is None:
            raise await self.travel.refusal(past, BATCH_NOUN, batch_id)
        return load_batch(row)


def _load_file(row: Mapping[str, Any]) -> VectorStoreFile:
    return load_store_file({**row, "attributes": jsonb.normalize(row["attributes"])})
