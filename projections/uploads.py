"""The uploads of a project, and the parts of those that are pending."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import assert_never

from events.envelope import RecordedEvent
from events.errors import NotFound
from events.ids import file_id_of
from events.object_changes import initial_upload, initial_upload_part
from events.objects import Upload, UploadPart
from events.upload import (
    UploadCancelled,
    UploadCompleted,
    UploadCreated,
    UploadEvent,
    UploadExpired,
    UploadPartAdded,
    UploadState,
)
from projections.rows import OverdueStream, dump, load_fields
from sql import queries
from sql.connection import Connection
from sql.row_operations import RowOperation

_SQL = queries("uploads")


def project(batch: Sequence[RecordedEvent[UploadEvent]], before: UploadState) -> list[RowOperation]:
    """Returns the operations on the rows of uploads and of their parts."""
    operations: list[RowOperation] = []
    for recorded in batch:
        id = recorded.stream_id
        match recorded.event:
            case UploadCreated(expires_at=expires_at):
                body = dump(initial_upload(recorded))  # type: ignore[arg-type]
                values = (id, recorded.project_id, expires_at, body, file_id_of(id))
                operations.append(RowOperation("uploads.insert", values))
            case UploadPartAdded(part_id=part_id, bytes=size):
                body = dump(initial_upload_part(recorded))  # type: ignore[arg-type]
                operations.append(RowOperation("upload_parts.insert", (id, part_id, size, body)))
            case UploadCompleted(file_id=file_id):
                operations += _finish(id, "completed", file_id)
            case UploadCancelled():
                operations += _finish(id, "cancelled", None)
            case UploadExpired():
                operations += _finish(id, "expired", None)
            case _:
                assert_never(recorded.event)
    return operations


def _finish(id: str, status: str, file_id: str | None) -> list[RowOperation]:
    return [
        RowOperation("upload_parts.delete_all", (id,)),
        RowOperation("uploads.finish", (id, status, file_id)),
    ]


async def get(db: Connection, project_id: str, upload_id: str) -> Upload:
    """Returns the upload. Raises NotFound."""
    row = await db.fetchrow(_SQL["get"], upload_id, project_id)
    if row is None:
        raise NotFound("upload", upload_id)
    return Upload(**load_fields(row["body"]) | {"status": row["status"], "file_id": row["file_id"]})


async def parts(db: Connection, upload_id: str) -> dict[str, UploadPart]:
    """Returns the parts of a pending upload by id. An upload that has ended has none."""
    found = [UploadPart(**load_fields(row["body"])) for row in await db.fetch(_SQL["parts"], upload_id)]
    return {part.id: part for part in found}


async def find_overdue(db: Connection, at: datetime, limit: int) -> list[OverdueStream]:
    """Returns pending uploads of all projects that have expired, the first to expire first."""
    rows = await db.fetch(_SQL["find_overdue"], int(at.timestamp()), limit)
    return [OverdueStream(row["id"], row["project_id"]) for row in rows]


async def find_leftover_files(db: Connection, limit: int) -> list[OverdueStream]:
    """Returns uploads of all projects that ended without a file although the file that they would have
    created exists.
    """
    return [OverdueStream(row["id"], row["project_id"]) for row in await db.fetch(_SQL["find_leftover_files"], limit)]
