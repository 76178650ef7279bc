"""Reads the metadata that a thread had, from its events, which a deleted thread has too."""

from __future__ import annotations

from events import event_log
from events.thread.events import ThreadCreated, ThreadModified
from service.retention.rules import MetadataHistory
from sql.connection import Connection

_TYPES = ("thread.created", "thread.modified")


async def read_history(db: Connection, thread_id: str) -> MetadataHistory:
    """Returns the metadata after each change, the oldest first."""
    found, more, after = list[dict[str, str]](), True, 0
    while more:
        page = await event_log.read_types(db, thread_id, _TYPES, after=after, until=event_log.NO_END)
        for recorded in page.recorded:
            after = recorded.version
            if isinstance(event := recorded.event, ThreadCreated):
                found.append(dict(event.metadata))
            elif isinstance(event, ThreadModified) and "metadata" in event.changes:
                found.append(dict(event.changes["metadata"]))
        more = page.more
    return found
