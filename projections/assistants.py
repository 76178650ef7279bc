"""The assistants of a project."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, assert_never

from events.assistant import AssistantCreated, AssistantDeleted, AssistantEvent, AssistantModified, AssistantState
from events.envelope import RecordedEvent
from events.errors import NotFound
from events.object_changes import initial_assistant, modified_assistant
from events.objects import Assistant
from events.provenance import creation_time
from projections import metadata
from projections.metadata import NO_FILTER, Filter, ListPosition
from projections.rows import MAX_PAGE_BYTES, Cursor, Page, dump, dump_settings, load_fields, load_rows
from sql import queries
from sql.connection import Connection
from sql.row_operations import RowOperation

_SQL = queries("assistants")


# The fields of an assistant that can change, in the order of their patches.
_FIELDS = tuple(
    field.name for field in fields(Assistant) if field.name not in ("id", "created_at", "explicit_defaults")
)


def project(batch: Sequence[RecordedEvent[AssistantEvent]], before: AssistantState) -> list[RowOperation]:
    """Returns the operations on the rows of assistants and of their metadata."""
    operations: list[RowOperation] = []
    for recorded in batch:
        id = recorded.stream_id
        match recorded.event:
            case AssistantCreated(settings=settings):
                body = dump_settings(initial_assistant(recorded))  # type: ignore[arg-type]
                operations.append(
                    RowOperation("assistants.insert", (id, recorded.project_id, creation_time(recorded), body))
                )
                operations += metadata.insert("assistant", recorded, settings["metadata"])
            case AssistantModified(changes=changes):
                operations.append(RowOperation("assistants.modify", (id, _patches(changes))))
                if "metadata" in changes:
                    operations += metadata.replace("assistant", id, changes["metadata"])
            case AssistantDeleted():
                operations += [RowOperation("assistants.delete", (id,)), metadata.delete(id)]
            case _:
                assert_never(recorded.event)
    return operations


def _patches(changes: Mapping[str, Any]) -> list[bytes | None]:
    """Returns a patch for each field that changes. It says if the field was set to its default value."""
    explicit = changes.get("explicit_defaults", ())
    return [
        dump({name: changes[name], **({"explicit_defaults": [name]} if name in explicit else {})})
        if name in changes
        else None
        for name in _FIELDS
    ]


def load_assistant(row: Mapping[str, Any]) -> Assistant:
    """Returns the object of a row with the columns body, patches."""
    return Assistant(**load_fields(row["body"], row["patches"], modified_assistant))


async def get(db: Connection, project_id: str, assistant_id: str) -> Assistant:
    """Raises NotFound if the assistant does not exist."""
    row = await db.fetchrow(_SQL["get"], assistant_id, project_id)
    if row is None:
        raise NotFound("assistant", assistant_id)
    return load_assistant(row)


async def page(db: Connection, project_id: str, cursor: Cursor, only: Filter = NO_FILTER) -> Page[Assistant]:
    """Returns a page of the project's assistants that the filter matches.

    Raises NotFound if the cursor names an id that never existed. The id of a deleted assistant is a valid cursor.
    """
    after = None if cursor.after is None else await find_position(db, project_id, cursor.after)
    before = None if cursor.before is None else await find_position(db, project_id, cursor.before)
    lower, upper = cursor.bounds(after, before)
    if only.pairs:
        rows = await metadata.page(db, "assistant", project_id, cursor, only, lower, upper)
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
    return cursor.page(await load_rows(rows, load_assistant))


async def find_position(db: Connection, project_id: str, assistant_id: str) -> ListPosition:
    """Returns the position of an assistant in lists. It keeps its position after it is deleted.

    Raises NotFound if it never existed.
    """
    row = await db.fetchrow(_SQL["list_position"], assistant_id, project_id)
    if row is None:
        raise NotFound("assistant", assistant_id)
    return row["created_at"], row["id"]
