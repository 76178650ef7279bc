"""The files of vector stores, and the scans by which indexing supervisors find those that need a process.

Every query has a moment: if a File is deleted, it is missing from its stores, even before it is removed from them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from events.envelope import RecordedEvent
from events.errors import StoreFileNotFound
from events.file import is_large_file
from events.objects import VectorStoreFile
from events.vector_store import events as e
from events.vector_store.commands import FileFact
from projections.rows import Cursor, Page, dump, load_fields, load_rows
from sql import queries
from sql.connection import Connection
from sql.row_operations import RowOperation

_SQL = queries("vector_store_files")
# Events that change no file.
_Ignored = e.StoreLifeEvent | e.BatchCreated
# Positions that one event reserves for its files.
_POSITIONS = 65_536


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of a store, with the job and the process of its last attempt, or null if there was none."""

    store_id: str
    file_id: str
    project_id: str
    job: int | None
    process: int | None


@dataclass(frozen=True, slots=True)
class WaitingFile(StoredFile):
    """A file that no living process works on. `is_large` says whose turns it has (`events.file.is_large_file`)."""

    is_large: bool


def project(recorded: RecordedEvent[e.VectorStoreEvent]) -> list[RowOperation]:
    """Returns the operations on the rows of files."""
    id = recorded.stream_id
    match recorded.event:
        case e.FilesAdded() as added:
            return [_insertion(recorded, added)]
        case e.IndexingStarted(file_id=file_id) as started:
            values = (id, file_id, started.job, started.attempt, started.process, started.deadline)
            return [RowOperation("vector_store_files.start", values)]
        case e.IndexingFinished(file_id=file_id, usage_bytes=usage):
            return [RowOperation("vector_store_files.finish", (id, file_id, usage))]
        case e.IndexingFailed(file_id=file_id, error=error):
            return [RowOperation("vector_store_files.fail", (id, file_id, dump(error.model_dump())))]
        case e.IndexingReleased(file_id=file_id, job=job):
            return [RowOperation("vector_store_files.release_any", (id, file_id, job))]
        case e.BatchCancelled(batch_id=batch_id):
            return [RowOperation("vector_store_files.cancel_any", (id, batch_id))]
        case e.FileAttributesChanged(file_id=file_id, attributes=attributes):
            return [RowOperation("vector_store_files.replace_attributes", (id, file_id, dump(attributes).decode()))]
        case e.FileRemoved(file_id=file_id):
            return [RowOperation("vector_store_files.remove", (id, file_id))]
        case e.VectorStoreExpired():
            return [RowOperation("vector_store_files.expire_any", (id,))]
        case e.VectorStoreDeleted():
            return [RowOperation("vector_store_files.delete_all", (id,))]
        case _:
            _ignored: _Ignored = recorded.event
            return []


async def get(db: Connection, project_id: str, store_id: str, file_id: str, at: datetime) -> VectorStoreFile:
    """Returns the file. Raises StoreFileNotFound."""
    row = await db.fetchrow(_SQL["get"], store_id, file_id, project_id, int(at.timestamp()))
    if row is None:
        raise StoreFileNotFound(store_id, file_id)
    return load_store_file(row)


async def page(
    db: Connection,
    project_id: str,
    store_id: str,
    cursor: Cursor,
    at: datetime,
    *,
    status: str | None = None,
    batch_id: str | None = None,
) -> Page[VectorStoreFile]:
    """Returns a page of a store's files, or of one batch's, in the order in which they were added.

    Raises StoreFileNotFound if the cursor's id never existed. A removed file keeps its position.
    """
    after = await _list_position(db, project_id, store_id, cursor.after)
    before = await _list_position(db, project_id, store_id, cursor.before)
    lower, upper = cursor.bounds(after, before)
    seconds, limit = int(at.timestamp()), cursor.limit + 1
    if batch_id is None:
        query = _SQL[f"list_{cursor.scan}"]
        rows = await db.fetch(query, store_id, project_id, status, seconds, lower, upper, limit)
    else:
        query = _SQL[f"batch_{cursor.scan}"]
        rows = await db.fetch(query, store_id, project_id, status, seconds, lower, upper, limit, batch_id)
    return cursor.page(await load_rows(rows, load_store_file))


async def facts(db: Connection, store_id: str, file_ids: Collection[str]) -> dict[str, FileFact]:
    """Returns those of the files that the store has, by id, as of the append."""
    rows = await db.fetch(_SQL["facts"], store_id, list(file_ids))
    found = await load_rows(rows, lambda row: (row["file_id"], _fact(row)))
    return dict(pair for pair in found if pair is not None)


async def fact(db: Connection, store_id: str, file_id: str) -> FileFact | None:
    return (await facts(db, store_id, [file_id])).get(file_id)


async def stores_with_file(db: Connection, project_id: str, file_id: str) -> list[str]:
    """Returns the stores that have the file."""
    return [row["store_id"] for row in await db.fetch(_SQL["stores_with_file"], file_id, project_id)]


async def find_waiting(
    db: Connection, live: Collection[int], first: str, *, limit: int, each: int
) -> list[WaitingFile]:
    """Returns at most `limit` files to index that no process of `live` works on. Projects take turns, and in a project
    its small files and its large ones, and their stores.

    Projects and stores are read in the order of their ids, from the one that follows `first` on; of a project's small
    files, and of its large ones, `each` stores with `each` files.
    """
    rows = await db.fetch(_SQL["find_waiting"], list(live), limit, first, each)
    return [WaitingFile(**row) for row in rows]


async def find_overdue(db: Connection, at: datetime, limit: int) -> list[StoredFile]:
    """Returns files whose attempt should have ended before that moment, the longest first."""
    rows = await db.fetch(_SQL["find_overdue"], int(at.timestamp()), limit)
    return [StoredFile(**row) for row in rows]


async def find_held(db: Connection, process: int, limit: int) -> list[StoredFile]:
    """Returns files whose attempt belongs to the process."""
    return [StoredFile(**row) for row in await db.fetch(_SQL["find_held"], process, limit)]


async def find_orphans(db: Connection, at: datetime, limit: int) -> list[StoredFile]:
    """Returns files that stores still have although their File is deleted."""
    rows = await db.fetch(_SQL["find_orphans"], int(at.timestamp()), limit)
    return [StoredFile(**row) for row in rows]


def _insertion(recorded: RecordedEvent[Any], added: e.FilesAdded) -> RowOperation:
    files, store_id = added.files, recorded.stream_id
    bodies = [
        {
            "id": file.file_id,
            "vector_store_id": store_id,
            "created_at": recorded.seconds,
            "filename": file.filename,
            "chunking": file.chunking.model_dump() if file.chunking else None,
        }
        for file in files
    ]
    values = (
        store_id,
        recorded.project_id,
        recorded.version * _POSITIONS,
        added.batch_id,
        [file.file_id for file in files],
        [file.filename for file in files],
        [is_large_file(file.bytes) for file in files],
        [dump(file.attributes).decode() for file in files],
        [dump(body) for body in bodies],
    )
    return RowOperation("vector_store_files.insert", values)


async def _list_position(db: Connection, project_id: str, store_id: str, file_id: str | None) -> int | None:
    if file_id is None:
        return None
    position: int | None = await db.fetchval(_SQL["list_position"], store_id, file_id, project_id)
    if position is None:
        raise StoreFileNotFound(store_id, file_id)
    return position


def load_store_file(row: Mapping[str, Any]) -> VectorStoreFile:
    """Returns the file of a row with the columns body, attributes, status, usage_bytes and last_error."""
    error = row["last_error"]
    return VectorStoreFile(
        **load_fields(row["body"]),
        attributes=orjson.loads(row["attributes"]),
        status=row["status"],
        usage_bytes=row["usage_bytes"],
        last_error=orjson.loads(error) if error is not None else None,
    )


def _fact(row: Mapping[str, Any]) -> FileFact:
    chunking = load_fields(row["body"])["chunking"]
    return FileFact(
        status=row["status"],
        usage_bytes=row["usage_bytes"],
        job=row["job"],
        process=row["process"],
        attempt=row["attempt"],
        chunking=e.Chunking(**chunking) if chunking is not None else None,
        attributes=orjson.loads(row["attributes"]),
    )
