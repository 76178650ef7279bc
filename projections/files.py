"""The files of a project. Every read is as of a time: from its expires_at on, a file does not exist."""

from __future__ import annotations

from collections.abc import Collection, Container, Sequence
from datetime import datetime
from typing import Any, assert_never

from events import codec, leaves
from events.envelope import RecordedEvent
from events.errors import FileNotFound
from events.file import FileCreated, FileDeleted, FileEvent, FileExpired, FileState
from events.object_changes import initial_file
from events.objects import File
from events.provenance import creation_time
from events.references import Referrer, keep_files, referenced_files
from projections.rows import Cursor, OverdueStream, Page, dump, load_fields, load_rows
from sql import queries
from sql.connection import Connection
from sql.row_operations import RowOperation

_SQL = queries("files")


def project(batch: Sequence[RecordedEvent[FileEvent]], before: FileState) -> list[RowOperation]:
    """Returns the operations on the rows of files."""
    operations: list[RowOperation] = []
    for recorded in batch:
        match recorded.event:
            case FileCreated():
                file = initial_file(recorded)  # type: ignore[arg-type]
                key = (file.id, recorded.project_id, creation_time(recorded), file.purpose, file.expires_at)
                operations.append(RowOperation("files.insert", (*key, file.blob, file.bytes, dump(file))))
            case FileDeleted() | FileExpired():
                operations.append(RowOperation("files.delete", (recorded.stream_id,)))
            case _:
                assert_never(recorded.event)
    return operations


async def get(db: Connection, project_id: str, file_id: str, at: datetime) -> File:
    """Raises FileNotFound if the file does not exist at time `at`."""
    body = await db.fetchval(_SQL["get"], file_id, project_id, int(at.timestamp()))
    if body is None:
        raise FileNotFound(file_id)
    return File(**load_fields(body))


async def find(db: Connection, project_id: str, file_ids: Collection[str], at: datetime) -> dict[str, File]:
    """Returns those of the files that exist at time `at`, by id."""
    rows = await db.fetch(_SQL["find"], list(file_ids), project_id, int(at.timestamp()))
    existing = await load_rows(rows, lambda row: File(**load_fields(row["body"])))
    return {file.id: file for file in existing if file is not None}


async def keep_existing_files(
    db: Connection, project_id: str, referrers: Sequence[Referrer], at: datetime
) -> list[Referrer]:
    """Returns the objects without references to files that do not exist.

    Does not query the database if the objects refer to no files.
    """
    ids = {id for each in referrers for id in referenced_files(each)}
    if not ids:
        return list(referrers)
    return keep_found_files(referrers, await find(db, project_id, ids, at))


def keep_found_files(referrers: Sequence[Referrer], existing: Container[str]) -> list[Referrer]:
    """Returns the objects without references to files that are not in `existing`."""
    return [
        each if all(id in existing for id in referenced_files(each)) else keep_files(each, existing)
        for each in referrers
    ]


async def page(db: Connection, project_id: str, cursor: Cursor, purpose: str | None, at: datetime) -> Page[File]:
    """Returns a page of files, of one purpose or of all. Raises FileNotFound if the cursor names an id that never
    existed.
    """
    after = await _list_position(db, project_id, cursor.after)
    before = await _list_position(db, project_id, cursor.before)
    lower, upper = cursor.bounds(after, before)
    lower_time, lower_id = lower or (None, None)
    upper_time, upper_id = upper or (None, None)
    rows = await db.fetch(
        _SQL[f"list_{cursor.scan}"],
        project_id,
        int(at.timestamp()),
        purpose,
        lower_time,
        lower_id,
        upper_time,
        upper_id,
        cursor.limit + 1,
    )
    return cursor.page(await load_rows(rows, lambda row: File(**load_fields(row["body"]))))


async def find_overdue(db: Connection, at: datetime, limit: int) -> list[OverdueStream]:
    """Returns files of all projects that expired at or before `at`, longest ago first."""
    rows = await db.fetch(_SQL["find_overdue"], int(at.timestamp()), limit)
    return [OverdueStream(row["id"], row["project_id"]) for row in rows]


async def blob_key(db: Connection, file_id: str) -> str | None:
    """Returns the key of the file's bytes, or None if the file was deleted. An expired file still has its key."""
    key: str | None = await db.fetchval(_SQL["blob_key"], file_id)
    return key


async def created_blob(db: Connection, file_id: str) -> str | None:
    """Returns the key of the bytes with which the file was created last, also if it was deleted; None if never."""
    row = await db.fetchrow(_SQL["creation"], file_id)
    created = None if row is None else codec.load(leaves.content_json(row["content"]), row["schema_version"])
    return created.blob if isinstance(created, FileCreated) else None


async def load_segments(db: Connection, file: File) -> str | None:
    """Returns the hashes of the file's segments from the event that created it; None if it has none.

    The view does not have them, since they are long: 22 KB for a file of 512 MB. Raises ValueError if the event was
    changed.
    """
    row = await db.fetchrow(_SQL["creation"], file.id)
    created = None if row is None else codec.load(leaves.content_json(row["content"]), row["schema_version"])
    return created.segments if isinstance(created, FileCreated) and created.blob == file.blob else None


async def count_stored_bytes(db: Connection, project_id: str) -> int:
    """Returns the bytes of a project's files, of the parts of its pending uploads, and of its vector stores."""
    stored: int = await db.fetchval(_SQL["stored_bytes"], project_id)
    return stored


async def find_unowned_blobs(db: Connection, keys: Collection[str]) -> list[str]:
    """Returns those of the blob keys that belong to no file and to no part of a pending upload."""
    return [row["key"] for row in await db.fetch(_SQL["unowned_blobs"], list(keys))]


async def _list_position(db: Connection, project_id: str, file_id: str | None) -> tuple[Any, str] | None:
    if file_id is None:
        return None
    row = await db.fetchrow(_SQL["list_position"], file_id, project_id)
    if row is None:
        raise FileNotFound(file_id)
    return row["created_at"], row["id"]
