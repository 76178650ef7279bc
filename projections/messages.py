"""The messages of threads, in the order of their stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from events.envelope import RecordedEvent, classes_of
from events.errors import NotFound
from events.object_changes import client_message, imported_message, run_message
from events.objects import Message
from events.thread import events as e
from events.thread.state import ThreadState, run_positions
from projections.rows import (
    MAX_PAGE_BYTES,
    Cursor,
    Page,
    PromptPosition,
    dump,
    load_fields,
    load_page,
    load_rows,
    split_at_deletion,
)
from sql import queries
from sql.connection import Connection
from sql.row_operations import RowOperation, parts_of

_SQL = queries("messages")

# Events that insert a message, and events that change no row of a message.
_Inserted = e.MessageAdded | e.MessageWritten | e.MessageImported
_Ignored = e.LifeEvent | e.RunImported | e.StepImported | e.RunEvent | e.StepEvent | e.ModelCallEvent | e.ToolCallEvent
_IGNORED = classes_of(_Ignored)


def project(batch: Sequence[RecordedEvent[e.ThreadEvent]], before: ThreadState) -> list[RowOperation]:
    """Returns the operations on the rows of messages.

    A message of a run stands in prompts at the position of its run.
    """
    is_deleted, batch = split_at_deletion(batch, e.ThreadDeleted)
    operations = [RowOperation("messages.delete_all", (before.id,))] if is_deleted else []
    positions = run_positions(batch, before)
    batch = [recorded for recorded in batch if type(recorded.event) not in _IGNORED]
    operations += _insertions(batch, positions)
    for recorded in batch:
        thread_id = recorded.stream_id
        match recorded.event:
            case e.MessageModified(message_id=id, metadata=metadata):
                patch = dump({"metadata": metadata})
                operations.append(RowOperation("messages.modify", (thread_id, id, patch)))
            case e.MessageDeleted(message_id=id):
                operations.append(RowOperation("messages.delete", (thread_id, id)))
            case _:
                _ignored: _Inserted | _Ignored = recorded.event
    return operations


def _insertions(batch: Sequence[RecordedEvent[e.ThreadEvent]], positions: Mapping[str, int]) -> list[RowOperation]:
    """Returns the operations that insert the messages of the batch: one, more if they are large, or none.

    `positions` are those of the runs.
    """
    new = [(recorded, message) for recorded in batch if (message := _new_message(recorded)) is not None]
    bodies = [dump(message) for _, message in new]
    operations = []
    for part in parts_of(bodies):
        values = (
            batch[0].stream_id,
            batch[0].project_id,
            [message.id for _, message in new[part]],
            [recorded.version for recorded, _ in new[part]],
            [message.run_id for _, message in new[part]],
            [_place(recorded, message, positions) for recorded, message in new[part]],
            bodies[part],
        )
        operations.append(RowOperation("messages.insert", values))
    return operations


def _place(recorded: RecordedEvent[e.ThreadEvent], message: Message, positions: Mapping[str, int]) -> int | None:
    """Returns the position of the message's run, or None if the message stands in prompts at its own position."""
    if isinstance(recorded.event, e.MessageImported):
        distance = recorded.event.run_distance
        return None if distance is None else recorded.version - distance
    return None if message.run_id is None else positions[message.run_id]


def _new_message(recorded: RecordedEvent[e.ThreadEvent]) -> Message | None:
    match recorded.event:
        case e.MessageAdded():
            return client_message(recorded)  # type: ignore[arg-type]
        case e.MessageWritten():
            return run_message(recorded)  # type: ignore[arg-type]
        case e.MessageImported():
            return imported_message(recorded)  # type: ignore[arg-type]
        case e.MessageModified() | e.MessageDeleted():
            return None
        case _:
            _ignored: _Ignored = recorded.event
            return None


def load_message(row: Mapping[str, Any]) -> Message:
    """Returns the object of a row with the columns body, patches."""
    return Message(**load_fields(row["body"], row["patches"]))


async def get(db: Connection, project_id: str, thread_id: str, message_id: str) -> Message:
    """Raises NotFound if the message does not exist."""
    row = await db.fetchrow(_SQL["get"], thread_id, message_id, project_id)
    if row is None:
        raise NotFound("message", message_id)
    return load_message(row)


async def page(
    db: Connection, project_id: str, thread_id: str, cursor: Cursor, run_id: str | None = None
) -> Page[Message]:
    """Returns a page of a thread's messages, or of those of one run.

    Raises NotFound if the cursor names an id that never existed.
    """
    after = await _list_position(db, project_id, thread_id, cursor.after)
    before = await _list_position(db, project_id, thread_id, cursor.before)
    lower, upper = cursor.bounds(after, before)
    rows = await db.fetch(
        _SQL[f"list_{cursor.scan}"], thread_id, project_id, run_id, lower, upper, cursor.limit + 1, MAX_PAGE_BYTES
    )
    return cursor.page(await load_rows(rows, load_message))


async def newest_messages(
    db: Connection, thread_id: str, run_id: str, before: PromptPosition | None, limit: int
) -> Page[tuple[PromptPosition, Message]]:
    """Returns a page of up to `limit` messages that the run may read, newest first, from before the position `before`
    or from the end. It ends after MAX_PAGE_BYTES.

    Messages that clients added after the run was created are left out.
    """
    run_position, position = before or (None, None)
    rows = await db.fetch(_SQL["newest"], thread_id, run_id, run_position, position, limit + 1, MAX_PAGE_BYTES)
    return await load_page(rows, _with_position, limit)


async def first_message(db: Connection, thread_id: str) -> tuple[PromptPosition, Message] | None:
    """Returns the thread's first message, with which every prompt begins, or None if there is none."""
    row = await db.fetchrow(_SQL["first"], thread_id)
    return None if row is None else _with_position(row)


def _with_position(row: Mapping[str, Any]) -> tuple[PromptPosition, Message]:
    return (row["place"], row["position"]), load_message(row)


async def _list_position(db: Connection, project_id: str, thread_id: str, message_id: str | None) -> int | None:
    return None if message_id is None else await position_of(db, project_id, thread_id, message_id)


async def position_of(db: Connection, project_id: str, thread_id: str, message_id: str) -> int:
    """Returns the version with which a message began. Raises NotFound if there never was such a message."""
    position: int | None = await db.fetchval(_SQL["list_position"], thread_id, message_id, project_id)
    if position is None:
        raise NotFound("message", message_id)
    return position
