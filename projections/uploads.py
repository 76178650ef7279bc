"""The uploads of a project, and the parts of those that are pending."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import assert_never

from events.envelope import Recorded
from events.errors import NotFound
from events.ids import file_id_of
from events.object_changes import added_part, opened_upload
from events.objects import Upload, UploadPart
from events.upload import (
    UploadCancelled,
    UploadCompleted,
    UploadCreated,
    UploadEvent,
    UploadExpired,
    UploadPartAdded,
)
from projections.rows import Overdue, dump, merged
from sql import queries
from sql.connection import Connection

_SQL = queries("uploads")


async def project(db: Connection, batch: Sequence[Recorded[UploadEvent]]) -> None:
    for recorded in batch:
        id = recorded.stream_id
        match recorded.event:
            case UploadCreated(expires_at=expires_at):
                body = dump(opened_upload(recorded))  # type: ignore[arg-type]
                await db.execute(_SQL["insert"], id, recorded.project_id, expires_at, body, file_id_of(id))
            case UploadPartAdded(part_id=part_id):
                await db.execute(_SQL["add_part"], id, part_id, dump(added_part(recorded)))  # type: ignore[arg-type]
            case UploadCompleted(file_id=file_id):
                await db.execute(_SQL["finish"], id, "completed", file_id)
            case UploadCancelled():
                await db.execute(_SQL["finish"], id, "cancelled", None)
            case UploadExpired():
                await db.execute(_SQL["finish"], id, "expired", None)
            case _:
                assert_never(recorded.event)


async def get(db: Connection, project_id: str, upload_id: str) -> Upload:
    """Raises NotFound."""
    row = await db.fetchrow(_SQL["get"], upload_id, project_id)
    if row is None:
        raise NotFound("upload", upload_id)
    return Upload(**merged(row["body"]) | {"status": row["status"], "file_id": row["file_id"]})


async def parts(db: Connection, upload_id: str) -> dict[str, UploadPart]:
    """The parts of a pending upload, by id; none of one that has ended."""
    found = [UploadPart(**merged(row["body"])) for row in await db.fetch(_SQL["parts"], upload_id)]
    return {part.id: part for part in found}


async def overdue(db: Connection, at: datetime, limit: int) -> list[Overdue]:
    """Pending uploads of all projects whose time is up, the longest first."""
    rows = await db.fetch(_SQL["overdue"], int(at.timestamp()), limit)
    return [Overdue(row["id"], row["project_id"]) for row in rows]


async def unannounced(db: Connection, limit: int) -> list[Overdue]:
    """Uploads of all projects that ended without a file while the file that they would have made is there."""
    return [Overdue(row["id"], row["project_id"]) for row in await db.fetch(_SQL["unannounced"], limit)]
