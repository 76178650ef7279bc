"""Threads: their metadata and tool resources. Their messages, runs and steps have views of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any

import orjson

from events import event_log
from events.envelope import RecordedEvent, classes_of
from events.errors import NotFound
from events.object_changes import attach_files, attached_files, initial_thread
from events.objects import Thread
from events.provenance import creation_time
from events.thread import events as e
from events.thread.state import ThreadState
from projections import metadata
from projections.metadata import NO_FILTER, Filter, ListPosition
from projections.rows import Cursor, Page, dump, field_patches, load_fields, load_rows, split_at_deletion
from sql import queries
from sql.connection import Connection
from sql.row_operations import RowOperation

_SQL = queries("threads")

# Events that change no row of a thread; a message only does if it has attachments.
_Ignored = (
    e.ThreadForked | e.ImportEvent | e.MessageEvent | e.RunEvent | e.StepEvent | e.ModelCallEvent | e.ToolCallEvent
)
_IGNORED = classes_of(_Ignored) - {e.MessageAdded}


def project(batch: Sequence[RecordedEvent[e.ThreadEvent]], before: ThreadState) -> list[RowOperation]:
    """Returns the operations on the rows of threads, of their attachments and of their metadata."""
    is_deleted, batch = split_at_deletion(batch, e.ThreadDeleted)
    operations = _deletions(before.id) if is_deleted else []
    first = _first_messages(batch)
    created_until = first[-1].version if first else 0
    for recorded in batch:
        if type(recorded.event) in _IGNORED:
            continue
        id = recorded.stream_id
        match recorded.event:
            case e.ThreadCreated() as created:
                has_own_store = any(_is_for_search(message) for message in first)
                body = dump(initial_thread(recorded))  # type: ignore[arg-type]
                values = (id, recorded.project_id, creation_time(recorded), body, has_own_store)
                operations.append(RowOperation("threads.insert", values))
                operations += metadata.insert("thread", recorded, created.metadata)
            case e.ThreadModified(changes=changes):
                patches = field_patches(changes, ("metadata", "tool_resources"))
                operations.append(RowOperation("threads.modify", (id, *patches)))
                if "tool_resources" in changes:
                    operations.append(RowOperation("thread_attachments.delete_all", (id,)))
                if "metadata" in changes:
                    operations += metadata.replace("thread", id, changes["metadata"])
            case e.MessageAdded(attachments=[_, *_] as attachments):
                if recorded.version > created_until and _is_for_search(recorded):
                    _add_own_store(operations, id)
                if for_code := attached_files(attachments, "code_interpreter"):
                    _attach(operations, id, recorded.version, dump(for_code))
            case e.ThreadDeleted():
                raise AssertionError("the batch begins behind the deletion")
            case _:
                _ignored: _Ignored = recorded.event
    return operations


def _first_messages(batch: Sequence[RecordedEvent[e.ThreadEvent]]) -> Sequence[RecordedEvent[e.ThreadEvent]]:
    """Returns the messages with which the batch creates the thread. Its row says from the start if it has a store."""
    if not batch or not isinstance(batch[0].event, e.ThreadCreated):
        return []
    return list(takewhile(lambda recorded: isinstance(recorded.event, e.MessageAdded), batch[1:]))


def _is_for_search(recorded: RecordedEvent[e.ThreadEvent]) -> bool:
    """Whether the event adds a message with a file for file_search."""
    event = recorded.event
    return isinstance(event, e.MessageAdded) and bool(attached_files(event.attachments, "file_search"))


def _add_own_store(operations: list[RowOperation], id: str) -> None:
    """Adds the operation, unless the same messages have added it."""
    operation = RowOperation("threads.add_own_store", (id,))
    if operation not in operations[-2:]:
        operations.append(operation)


def _attach(operations: list[RowOperation], id: str, position: int, file_ids: bytes) -> None:
    """Adds the operation that attaches files, or adds the files to that of the messages before."""
    for index in range(len(operations) - 1, max(-1, len(operations) - 3), -1):
        if operations[index].block == "thread_attachments.insert":
            _, positions, files = operations[index].values
            values = (id, [*positions, position], [*files, file_ids])
            operations[index] = RowOperation("thread_attachments.insert", values)
            return
    operations.append(RowOperation("thread_attachments.insert", (id, [position], [file_ids])))


def _deletions(id: str) -> list[RowOperation]:
    deletions = ("threads.delete", "thread_attachments.delete_all")
    return [*(RowOperation(block, (id,)) for block in deletions), metadata.delete(id)]


def load_thread(row: Mapping[str, Any]) -> Thread:
    """Returns the object of a row with the columns thread_id, body, patches, has_own_store, attached."""
    fields = load_fields(row["body"], row["patches"])
    attached = [file_id for file_ids in row["attached"] for file_id in orjson.loads(file_ids)]
    resources = attach_files(
        fields["tool_resources"], row["thread_id"], for_code=attached, has_own_store=row["has_own_store"]
    )
    return Thread(**fields | {"tool_resources": resources})


async def get(db: Connection, project_id: str, thread_id: str) -> Thread:
    """Raises NotFound if the thread does not exist."""
    row = await db.fetchrow(_SQL["get"], thread_id, project_id)
    if row is None:
        raise NotFound("thread", thread_id)
    return load_thread(row)


async def page(db: Connection, project_id: str, cursor: Cursor, only: Filter = NO_FILTER) -> Page[Thread]:
    """Returns a page of the project's threads that the filter matches.

    Raises NotFound if the cursor names an id that never existed. The id of a deleted thread is a valid cursor.
    """
    after = None if cursor.after is None else await find_position(db, project_id, cursor.after)
    before = None if cursor.before is None else await find_position(db, project_id, cursor.before)
    lower, upper = cursor.bounds(after, before)
    if only.pairs:
        rows = await metadata.page(db, "thread", project_id, cursor, only, lower, upper)
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
    return cursor.page(await load_rows(rows, load_thread))


async def find_position(db: Connection, project_id: str, thread_id: str) -> ListPosition:
    """Returns the position of a thread in lists. A deleted thread has no row; its first event holds its time.

    Raises NotFound if it never existed.
    """
    row = await db.fetchrow(_SQL["list_position"], thread_id, project_id)
    if row is not None:
        return row["created_at"], row["id"]
    if (erased_at := await db.fetchval(_SQL["erased_position"], thread_id, project_id)) is not None:
        return erased_at, thread_id
    for first in await event_log.read(db, thread_id, limit=1):
        if isinstance(first.event, e.ThreadCreated) and first.project_id == project_id:
            return creation_time(first), thread_id
    raise NotFound("thread", thread_id)
