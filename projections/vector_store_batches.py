"""The file batches of vector stores, with the counts of their files by status."""

from __future__ import annotations

from events.envelope import RecordedEvent
from events.errors import NotFound
from events.objects import VectorStoreBatch
from events.vector_store import events as e
from events.vector_store.commands import BatchFact
from sql import queries
from sql.connection import Connection

_SQL = queries("vector_store_batches")
NOUN = "vector store file batch"

# Events that change no batch: `vector_stores` deletes and expires batches with their vector store, and a file that is
# removed changes its batch only if it was in progress.
_Ignored = e.StoreLifeEvent | e.FileAttributesChanged | e.IndexingStarted | e.IndexingReleased | e.FileRemoved


async def apply(db: Connection, recorded: RecordedEvent[e.VectorStoreEvent]) -> None:
    """Must run before the event changes the rows of the files, in which the file's batch is found."""
    store_id = recorded.stream_id
    match recorded.event:
        case e.BatchCreated(batch_id=batch_id):
            await db.execute(_SQL["insert"], store_id, batch_id, recorded.project_id, recorded.seconds)
        case e.FilesAdded(files=files, batch_id=batch_id):
            replaced = [file.file_id for file in files if file.replaced is not None]
            if replaced:
                await db.execute(_SQL["leave"], store_id, replaced)
            if batch_id is not None:
                await db.execute(_SQL["grow"], store_id, batch_id, len(files))
        case e.FileRemoved(file_id=file_id, status="in_progress"):
            await db.execute(_SQL["leave"], store_id, [file_id])
        case e.IndexingFinished(file_id=file_id):
            await db.execute(_SQL["move"], store_id, file_id, 1, 0)
        case e.IndexingFailed(file_id=file_id):
            await db.execute(_SQL["move"], store_id, file_id, 0, 1)
        case e.BatchCancelled(batch_id=batch_id):
            await db.execute(_SQL["cancel"], store_id, batch_id)
        case _:
            _ignored: _Ignored = recorded.event


async def get(db: Connection, project_id: str, store_id: str, batch_id: str) -> VectorStoreBatch:
    """Returns the batch. Raises NotFound."""
    row = await db.fetchrow(_SQL["get"], store_id, batch_id, project_id)
    if row is None:
        raise NotFound(NOUN, batch_id)
    return VectorStoreBatch(**row)


async def fact(db: Connection, project_id: str, store_id: str, batch_id: str) -> BatchFact | None:
    row = await db.fetchrow(_SQL["get"], store_id, batch_id, project_id)
    return None if row is None else BatchFact(row["in_progress"], row["is_cancelled"])
