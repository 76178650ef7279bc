"""The messages of threads, in the order of their stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from events.envelope import RecordedEvent
from events.errors import NotFound
from events.object_changes import client_message, run_message
from events.objects import Message
from events.thread import events as e
from projections.rows import MAX_PAGE_BYTES, Cursor, Page, PromptPosition, dump, load_fields, replace_fields
from sql import queries
from sql.connection import Connection

_SQL = queries("messages")

# Events that insert a message, and events that change no row of a message.
_Inserted = e.MessageAdded | e.MessageWritten
_Ignored = e.ThreadCreated | e.ThreadModified | e.RunEvent | e.StepEvent | e.ModelCallEvent | e.ToolCallEvent


async def apply(db: Connection, batch: Sequence[RecordedEvent[e.ThreadEvent]]) -> None:
    await _insert(db, batch)
    for recorded in batch:
        thread_id = recorded.stream_id
        match recorded.event:
            case e.MessageModified(message_id=id, metadata=metadata):
                body = await db.fetchval(_SQL["lock"], thread_id, id)
                await db.execute(_SQL["replace"], thread_id, id, replace_fields(body, {"metadata": metadata}))
            case e.MessageDeleted(message_id=id):
                await db.execute(_SQL["delete"], thread_id, id)
            case e.ThreadDeleted():
                await db.execute(_SQL["delete_all"], thread_id)
            case _:
                _ignored: _Inserted | _Ignored = recorded.event


async def get(db: Connection, project_id: str, thread_id: str, message_id: str) -> Message:
    """Raises NotFound if the message does not exist."""
    body = await db.fetchval(_SQL["get"], thread_id, message_id, project_id)
    if body is None:
        raise NotFound("message", message_id)
    return Message(**load_fields(body))


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
    return cursor.page([Message(**load_fields(row["body"])) if row["body"] else None for row in rows])


async def newest_messages(
    db: Connection, thread_id: str, run_id: str, before: PromptPosition | None, limit: int
) -> list[tuple[PromptPosition, Message]]:
    """Returns up to `limit` messages that the run may read, newest first, from before the position `before` or from the
    end.

    Messages that clients added after the run was created are left out.
    """
    run_position, position = before or (None, None)
    rows = await db.fetch(_SQL["newest"], thread_id, run_id, run_position, position, limit)
    return [_with_position(row) for row in rows]


async def first_message(db: Connection, thread_id: str) -> tuple[PromptPosition, Message] | None:
    """Returns the thread's first message, with which every prompt begins, or None if there is none."""
    row = await db.fetchrow(_SQL["first"], thread_id)
    return None if row is None else _with_position(row)


def _with_position(row: Mapping[str, Any]) -> tuple[PromptPosition, Message]:
    return (row["place"], row["position"]), Message(**load_fields(row["body"]))


async def _insert(db: Connection, batch: Sequence[RecordedEvent[e.ThreadEvent]]) -> None:
    new = [(recorded.version, message) for recorded in batch if (message := _new_message(recorded)) is not None]
    if new:
        await db.execute(
            _SQL["insert"],
            batch[0].stream_id,
            batch[0].project_id,
            [message.id for _, message in new],
            [position for position, _ in new],
            [message.run_id for _, message in new],
            [dump(message) for _, message in new],
        )


def _new_message(recorded: RecordedEvent[e.ThreadEvent]) -> Message | None:
    match recorded.event:
        case e.MessageAdded():
            return client_message(recorded)  # type: ignore[arg-type]
        case e.MessageWritten():
            return run_message(recorded)  # type: ignore[arg-type]
        case e.MessageModified() | e.MessageDeleted() | e.ThreadDeleted():
            return None
        case _:
            _ignored: _Ignored = recorded.event
            return None


async def _list_position(db: Connection, project_id: str, thread_id: str, message_id: str | None) -> int | None:
    if message_id is None:
        return None
    position: int | None = await db.fetchval(_SQL["list_position"], thread_id, message_id, project_id)
    if position is None:
        raise NotFound("message", message_id)
    return position
