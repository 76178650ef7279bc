"""Projects: their names."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import assert_never

from events.envelope import RecordedEvent
from events.errors import NotFound
from events.project import ProjectCreated, ProjectEvent, ProjectRenamed, ProjectState
from sql import queries
from sql.connection import Connection
from sql.row_operations import RowOperation

# The advisory lock of changes of names.
NAMES_LOCK = 0x4556_5450_4E41_4D45
_SQL = queries("projects")
_LIST_PAGE = 500
_FIRST = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Project:
    id: str
    name: str
    created_at: datetime


def project(batch: Sequence[RecordedEvent[ProjectEvent]], before: ProjectState) -> list[RowOperation]:
    """Returns the operations on the rows of projects."""
    operations: list[RowOperation] = []
    for recorded in batch:
        match recorded.event:
            case ProjectCreated(name=name):
                operations.append(RowOperation("projects.insert", (recorded.stream_id, recorded.at, name)))
            case ProjectRenamed(name=name):
                operations.append(RowOperation("projects.rename", (recorded.stream_id, name)))
            case _:
                assert_never(recorded.event)
    return operations


async def find(db: Connection, id_or_name: str) -> list[Project]:
    """Returns the projects with this id or name: none, one, or two if the name is ambiguous."""
    return [Project(**row) for row in await db.fetch(_SQL["find"], id_or_name)]


async def lock_names(db: Connection) -> None:
    """Waits until no other transaction changes names of projects, and lets none until this one ends."""
    await db.execute(_SQL["lock_names"], NAMES_LOCK)


async def get(db: Connection, project_id: str) -> Project:
    """Returns the project with this id; the default one has no row. Raises NotFound."""
    row = await db.fetchrow(_SQL["get"], project_id)
    if row is None:
        raise NotFound("project", project_id)
    return Project(**row)


async def page(db: Connection, *, after: str | None, limit: int) -> tuple[list[Project], bool]:
    """Returns up to `limit` projects behind the project `after`, oldest first, and whether more follow.

    The default project is none of them. Raises NotFound if there is no project `after`.
    """
    last_time, last_id = _FIRST, ""
    if after is not None:
        found = await get(db, after)
        last_time, last_id = found.created_at, found.id
    rows = await db.fetch(_SQL["list"], last_time, last_id, limit + 1)
    return [Project(**row) for row in rows[:limit]], len(rows) > limit


async def list_projects(db: Connection) -> AsyncIterator[Project]:
    """Yields all projects except the default one, oldest first."""
    last_time, last_id = _FIRST, ""
    while rows := await db.fetch(_SQL["list"], last_time, last_id, _LIST_PAGE):
        for row in rows:
            yield Project(**row)
        last_time, last_id = rows[-1]["created_at"], rows[-1]["id"]
