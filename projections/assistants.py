"""The assistants of a project."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, assert_never

from events.assistant import AssistantCreated, AssistantDeleted, AssistantEvent, AssistantModified
from events.envelope import RecordedEvent
from events.errors import NotFound
from events.object_changes import initial_assistant, modified_assistant
from events.objects import Assistant
from projections import metadata
from projections.metadata import NO_FILTER, Filter
from projections.rows import MAX_PAGE_BYTES, Cursor, Page, dump, dump_settings, load_fields
from sql import queries
from sql.connection import Connection

_SQL = queries("assistants")


async def apply(db: Connection, batch: Sequence[RecordedEvent[AssistantEvent]]) -> None:
    for recorded in batch:
        id = recorded.stream_id
        match recorded.event:
            case AssistantCreated():
                body = dump_settings(initial_assistant(recorded))  # type: ignore[arg-type]
                await db.execute(_SQL["insert"], id, recorded.project_id, recorded.at, body)
                if recorded.event.settings["metadata"]:
                    await metadata.put(db, "assistant", id, recorded.event.settings["metadata"])
            case AssistantModified() as modified:
                before = load_fields(await db.fetchval(_SQL["lock"], id))
                await db.execute(_SQL["replace"], id, dump(modified_assistant(before, modified)))
                if "metadata" in modified.changes:
                    await metadata.put(db, "assistant", id, modified.changes["metadata"])
            case AssistantDeleted():
                await db.execute(_SQL["delete"], id)
                await metadata.drop(db, id)
            case _:
                assert_never(recorded.event)


async def get(db: Connection, project_id: str, assistant_id: str) -> Assistant:
    """Raises NotFound if the assistant does not exist."""
    body = await db.fetchval(_SQL["get"], assistant_id, project_id)
    if body is None:
        raise NotFound("assistant", assistant_id)
    return Assistant(**load_fields(body))


async def page(db: Connection, project_id: str, cursor: Cursor, only: Filter = NO_FILTER) -> Page[Assistant]:
    """Returns a page of the project's assistants that the filter matches.

    Raises NotFound if the cursor names an id that never existed. The id of a deleted assistant is a valid cursor.
    """
    after = await _list_position(db, project_id, cursor.after)
    before = await _list_position(db, project_id, cursor.before)
    lower, upper = cursor.bounds(after, before)
    if only.pairs:
        bodies = await metadata.page(db, "assistant", project_id, cursor, only, lower, upper)
    else:
        bounds = only.bounds(lower, upper)
        rows = await db.fetch(
            _SQL[f"list_{cursor.scan}"],
            project_id,
            bounds.lower_time,
            bounds.lower_id,
            bounds.upper_time,
            bounds.upper_id,
            cursor.limit + 1,
            MAX_PAGE_BYTES,
        )
        bodies = [row["body"] for row in rows]
    return cursor.page([Assistant(**load_fields(body)) if body else None for body in bodies])


async def _list_position(db: Connection, project_id: str, assistant_id: str | None) -> tuple[Any, str] | None:
    if assistant_id is None:
        return None
    row = await db.fetchrow(_SQL["list_position"], assistant_id, project_id)
    if row is None:
        raise NotFound("assistant", assistant_id)
    return row["created_at"], row["id"]
