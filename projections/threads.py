"""Threads themselves: metadata and tool resources. What is in them has views of its own."""

from __future__ import annotations

from collections.abc import Sequence

from events import thread_events as e
from events.errors import NotFound
from events.event import Recorded
from events.fold import attached, opened_thread
from events.objects import Thread
from projections.rows import Connection, changed, dump, merged
from sql import queries

_SQL = queries("threads")


async def project(db: Connection, batch: Sequence[Recorded[e.ThreadEvent]]) -> None:
    for recorded in batch:
        id = recorded.stream_id
        match recorded.event:
            case e.ThreadCreated():
                body = dump(opened_thread(recorded))  # type: ignore[arg-type]
                await db.execute(_SQL["insert"], id, recorded.project_id, recorded.at, body)
            case e.ThreadModified(changes=changes):
                await db.execute(_SQL["replace"], id, changed(await db.fetchval(_SQL["lock"], id), changes))
            case e.MessageAdded(attachments=[_, *_]) as added:
                await _attach(db, id, added)
            case e.ThreadDeleted():
                await db.execute(_SQL["delete"], id)
            case _:
                pass


async def _attach(db: Connection, id: str, added: e.MessageAdded) -> None:
    body = await db.fetchval(_SQL["lock"], id)
    resources = attached(merged(body)["tool_resources"], added)
    if resources is not None:
        await db.execute(_SQL["replace"], id, changed(body, {"tool_resources": resources}))


async def get(db: Connection, project_id: str, thread_id: str) -> Thread:
    """Raises NotFound."""
    body = await db.fetchval(_SQL["get"], thread_id, project_id)
    if body is None:
        raise NotFound("thread", thread_id)
    return Thread(**merged(body))
