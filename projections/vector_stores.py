"""The vector stores of a project, with the counts of their files. Every query has a moment: a store expires on time.

`vector_store_batches` and `vector_store_files` define the changes to a store's batches and files. The operations of an
append are carried out one by one, in a transaction, since some need the rows as the one before left them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from events.envelope import RecordedEvent
from events.errors import NotFound
from events.object_changes import initial_vector_store
from events.objects import VectorStore
from events.provenance import creation_time
from events.references import Referrer, keep_stores, referenced_stores
from events.vector_store import events as e
from events.vector_store.decide import NOUN
from events.vector_store.state import DAY, FileCounts, VectorStoreState, count_files
from projections import vector_store_batches, vector_store_files
from projections.metadata import ListPosition
from projections.rows import Cursor, OverdueStream, Page, dump, field_patches, load_fields, load_rows
from sql import queries
from sql.connection import Connection
from sql.row_operations import RowOperation

_SQL = queries("vector_stores")
# The fields of a store that patches change, in their order, and those that are columns.
_FIELDS = ("name", "description", "metadata")
_COLUMNS = (
    *("embedding_model", "last_active_at", "expires_after", "expired"),
    *("in_progress", "completed", "failed", "cancelled", "usage_bytes"),
)
# Events that change only the files or batches of a vector store.
_Ignored = e.FileAttributesChanged | e.IndexingStarted | e.IndexingReleased | e.BatchCreated


def project(batch: Sequence[RecordedEvent[e.VectorStoreEvent]], before: VectorStoreState) -> list[RowOperation]:
    """Returns the operations on the rows of stores, of their files and of their batches."""
    return [
        operation
        for recorded in batch
        for change in (vector_store_batches.project, vector_store_files.project, _project_store)
        for operation in change(recorded)
    ]


def _project_store(recorded: RecordedEvent[e.VectorStoreEvent]) -> list[RowOperation]:
    id = recorded.stream_id
    match recorded.event:
        case e.VectorStoreCreated():
            store = initial_vector_store(recorded)  # type: ignore[arg-type]
            key = (id, recorded.project_id, creation_time(recorded), store.last_active_at, store.expires_after)
            return [RowOperation("vector_stores.insert", (*key, store.embedding_model, dump(store)))]
        case e.VectorStoreModified(changes=changes):
            expiry = ("expires_after" in changes, changes.get("expires_after"))
            return [RowOperation("vector_stores.modify", (id, field_patches(changes, _FIELDS), *expiry))]
        case e.VectorStoreUsed():
            return [RowOperation("vector_stores.use", (id, recorded.seconds))]
        case e.EmbeddingModelChanged(embedding_model=model):
            return [RowOperation("vector_stores.move_to_model", (id, model))]
        case e.VectorStoreExpired():
            return [RowOperation("vector_stores.expire", (id,))]
        case e.VectorStoreDeleted():
            return [RowOperation("vector_stores.delete", (id,))]
        case (
            e.FilesAdded() | e.FileRemoved() | e.IndexingFinished() | e.IndexingFailed() | e.BatchCancelled()
        ) as event:
            more = count_files(FileCounts(), event)
            counts = (more.in_progress, more.completed, more.failed, more.cancelled, more.usage_bytes)
            return [RowOperation("vector_stores.count", (id, *counts))]
        case _:
            _ignored: _Ignored = recorded.event
            return []


async def get(db: Connection, project_id: str, store_id: str, at: datetime) -> VectorStore:
    """Returns the store. Raises NotFound."""
    row = await db.fetchrow(_SQL["get"], store_id, project_id)
    if row is None:
        raise NotFound(NOUN, store_id)
    return load_store(row, at)


async def find(db: Connection, project_id: str, store_ids: Collection[str], at: datetime) -> dict[str, VectorStore]:
    """Returns those of the stores that exist, by id."""
    rows = await db.fetch(_SQL["find"], list(store_ids), project_id)
    found = await load_rows(rows, lambda row: load_store(row, at))
    return {store.id: store for store in found if store is not None}


async def keep_existing_stores(
    db: Connection, project_id: str, referrers: Sequence[Referrer], at: datetime
) -> list[Referrer]:
    """Returns the objects without the stores that are deleted. Runs no query if the objects name no stores."""
    ids = {id for each in referrers for id in referenced_stores(each)}
    if not ids:
        return list(referrers)
    existing = await find(db, project_id, ids, at)
    return [keep_stores(each, existing) for each in referrers]


async def page(db: Connection, project_id: str, cursor: Cursor, at: datetime) -> Page[VectorStore]:
    """Returns a page of stores. Raises NotFound if the cursor's id never existed. A deleted store
    keeps its position.
    """
    after = None if cursor.after is None else await find_position(db, project_id, cursor.after)
    before = None if cursor.before is None else await find_position(db, project_id, cursor.before)
    lower, upper = cursor.bounds(after, before)
    lower_time, lower_id = lower or (None, None)
    upper_time, upper_id = upper or (None, None)
    rows = await db.fetch(
        _SQL[f"list_{cursor.scan}"], project_id, lower_time, lower_id, upper_time, upper_id, cursor.limit + 1
    )
    return cursor.page(await load_rows(rows, lambda row: load_store(row, at)))


async def find_overdue(db: Connection, at: datetime, limit: int) -> list[OverdueStream]:
    """Returns stores of all projects that have expired, the first to expire first."""
    rows = await db.fetch(_SQL["find_overdue"], int(at.timestamp()), limit)
    return [OverdueStream(row["id"], row["project_id"]) for row in rows]


async def count_files_in_progress(db: Connection) -> int:
    """Returns the number of files of all projects that are being indexed or wait for it."""
    found: int = await db.fetchval(_SQL["count_files_in_progress"])
    return found


async def count_by_other_model(db: Connection, model: str) -> dict[str, int]:
    """Returns the number of stores of all projects by embedding model, without those of `model`."""
    return {row["embedding_model"]: row["stores"] for row in await db.fetch(_SQL["count_by_other_model"], model)}


def expires_at(store: VectorStore) -> int | None:
    """Returns the moment in Unix seconds."""
    return None if store.expires_after is None else store.last_active_at + store.expires_after * DAY


def load_store(row: Mapping[str, Any], at: datetime) -> VectorStore:
    """Returns the store of a row, as of the moment `at`."""
    columns = {name: row[name] for name in _COLUMNS}
    found = VectorStore(**load_fields(row["body"], row["patches"]) | columns)
    end = expires_at(found)
    return replace(found, expired=found.expired or (end is not None and at.timestamp() >= end))


async def find_position(db: Connection, project_id: str, store_id: str) -> ListPosition:
    """Returns the position of a vector store in lists. It keeps its position after it is deleted.

    Raises NotFound if it never existed.
    """
    row = await db.fetchrow(_SQL["list_position"], store_id, project_id)
    if row is None:
        raise NotFound(NOUN, store_id)
    return row["created_at"], row["id"]
