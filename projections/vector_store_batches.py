"""The file batches of vector stores, with the counts of their files by status."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from events.envelope import RecordedEvent
from events.errors import NotFound
from events.objects import VectorStoreBatch
from events.vector_store import events as e
from events.vector_store.commands import BatchFact
from sql import queries
from sql.connection import Connection
from sql.row_operations import RowOperation

_SQL = queries("vector_store_batches")
NOUN = "vector store file batch"

# Events that change no batch; a file that is removed changes its batch only if it was in progress.
_Ignored = e.StoreLifeEvent | e.FileAttributesChanged | e.IndexingStarted | e.IndexingReleased | e.FileRemoved


def project(recorded: RecordedEvent[e.VectorStoreEvent]) -> list[RowOperation]:
    """Returns the operations on the rows of batches.

    They must be carried out before the event changes the rows of the files, in which the file's batch is found.
    """
    store_id = recorded.stream_id
    match recorded.event:
        case e.BatchCreated(batch_id=batch_id):
            values = (store_id, batch_id, recorded.project_id, recorded.seconds)
            return [RowOperation("vector_store_batches.insert", values)]
        case e.FilesAdded(files=files, batch_id=batch_id):
            replaced = [file.file_id for file in files if file.replaced is not None]
            leave = [RowOperation("vector_store_batches.leave_any", (store_id, replaced))] if replaced else []
            if batch_id is None:
                return leave
            return [*leave, RowOperation("vector_store_batches.grow", (store_id, batch_id, len(files)))]
        case e.FileRemoved(file_id=file_id, status="in_progress"):
            return [RowOperation("vector_store_batches.leave_any", (store_id, [file_id]))]
        case e.IndexingFinished(file_id=file_id):
            return [RowOperation("vector_store_batches.move_any", (store_id, file_id, 1, 0))]
        case e.IndexingFailed(file_id=file_id):
            return [RowOperation("vector_store_batches.move_any", (store_id, file_id, 0, 1))]
        case e.BatchCancelled(batch_id=batch_id):
            return [RowOperation("vector_store_batches.cancel", (store_id, batch_id))]
        case e.VectorStoreExpired():
            return [RowOperation("vector_store_batches.expire_any", (store_id,))]
        case e.VectorStoreDeleted():
            return [RowOperation("vector_store_batches.delete_all", (store_id,))]
        case _:
            _ignored: _Ignored = recorded.event
            return []


async def get(db: Connection, project_id: str, store_id: str, batch_id: str) -> VectorStoreBatch:
    """Returns the batch. Raises NotFound."""
    row = await db.fetchrow(_SQL["get"], store_id, batch_id, project_id)
    if row is None:
        raise NotFound(NOUN, batch_id)
    return VectorStoreBatch(**row)


def load_batch(row: Mapping[str, Any]) -> VectorStoreBatch:
    """Returns the batch of a row with all columns of the table."""
    counts = {name: row[name] for name in ("is_cancelled", "in_progress", "completed", "failed", "cancelled")}
    return VectorStoreBatch(id=row["batch_id"], vector_store_id=row["store_id"], created_at=row["created_at"], **counts)


async def fact(db: Connection, project_id: str, store_id: str, batch_id: str) -> BatchFact | None:
    row = await db.fetchrow(_SQL["get"], store_id, batch_id, project_id)
    return None if row is None else BatchFact(row["in_progress"], row["is_cancelled"])
