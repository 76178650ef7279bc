"""Threads: their metadata and tool resources. Their messages, runs and steps have views of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from events.envelope import RecordedEvent
from events.errors import NotFound
from events.object_changes import attach_files, initial_thread
from events.objects import Thread
from events.thread import events as e
from projections import metadata
from projections.metadata import NO_FILTER, Filter
from projections.rows import Cursor, Page, dump, load_fields, replace_fields
from sql import queries
from sql.connection import Connection

_SQL = queries("threads")

# Events that change no row of a thread; a message only does if it has attachments.
_Ignored = e.MessageEvent | e.RunEvent | e.StepEvent | e.ModelCallEvent | e.ToolCallEvent


async def apply(db: Connection, batch: Sequence[RecordedEvent[e.ThreadEvent]]) -> None:
    for recorded in batch:
        id = recorded.stream_id
        match recorded.event:
            case e.ThreadCreated():
                body = dump(initial_thread(recorded))  # type: ignore[arg-type]
                await db.execute(_SQL["insert"], id, recorded.project_id, recorded.at, body)
                if recorded.event.metadata:
                    await metadata.put(db, "thread", id, recorded.event.metadata)
            case e.ThreadModified(changes=changes):
                await db.execute(_SQL["replace"], id, replace_fields(await db.fetchval(_SQL["lock"], id), changes))
                if "metadata" in changes:
                    await metadata.put(db, "thread", id, changes["metadata"])
            case e.MessageAdded(attachments=[_, *_]):
                await _attach(db, recorded)  # type: ignore[arg-type]
            case e.ThreadDeleted():
                await db.execute(_SQL["delete"], id)
                await metadata.drop(db, id)
            case _:
                _ignored: _Ignored = recorded.event


async def _attach(db: Connection, recorded: RecordedEvent[e.MessageAdded]) -> None:
    body = await db.fetchval(_SQL["lock"], recorded.stream_id)
    resources = attach_files(load_fields(body)["tool_resources"], recorded)
    if resources is not None:
        await db.execute(_SQL["replace"], recorded.stream_id, replace_fields(body, {"tool_resources": resources}))


async def get(db: Connection, project_id: str, thread_id: str) -> Thread:
    """Raises NotFound if the thread does not exist."""
    body = await db.fetchval(_SQL["get"], thread_id, project_id)
    if body is None:
        raise NotFound("thread", thread_id)
    return Thread(**load_fields(body))


async def page(db: Connection, project_id: str, cursor: Cursor, only: Filter = NO_FILTER) -> Page[Thread]:
    """Returns a page of the project's threads that the filter matches.

    Raises NotFound if the cursor names an id that never existed. The id of a deleted thread is a valid cursor.
    """
    after = await _list_position(db, project_id, cursor.after)
    before = await _list_position(db, project_id, cursor.before)
    lower, upper = cursor.bounds(after, before)
    if only.pairs:
        bodies = await metadata.page(db, "thread", project_id, cursor, only, lower, upper)
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
        )
        bodies = [row["body"] for row in rows]
    return cursor.page([Thread(**load_fields(body)) if body else None for body in bodies])


async def _list_position(db: Connection, project_id: str, thread_id: str | None) -> tuple[Any, str] | None:
    if thread_id is None:
        return None
    row = await db.fetchrow(_SQL["list_position"], thread_id, project_id)
    if row is None:
        raise NotFound("thread", thread_id)
    return row["created_at"], row["id"]
