"""An assistant as it was, and the list of its versions."""

from __future__ import annotations

from typing import Any

from events import event_log
from events.assistant import AssistantEvent
from events.envelope import RecordedEvent
from events.errors import NotFound
from events.objects import Assistant
from events.streams import ASSISTANT
from projections import assistants
from projections.assistants import load_assistant
from projections.rows import Page
from service.replay.deletions import deleted_since
from service.replay.time_travel import TimeTravel, Viewer
from service.wire.as_of import AsOf


async def read_assistant(travel: TimeTravel, viewer: Viewer, assistant_id: str, at: AsOf) -> Assistant:
    """Returns the assistant at a point. Raises the errors of `TimeTravel.open`."""
    past = await travel.open(ASSISTANT, assistant_id, at, viewer, (assistants.project,))
    row = past.tables.find("assistants", assistant_id)
    if row["deleted"]:
        raise NotFound("assistant", assistant_id)
    [found] = await travel.present([load_assistant(row)], viewer, past.moment)
    return found


async def list_versions(
    travel: TimeTravel, viewer: Viewer, assistant_id: str, *, before: int, limit: int
) -> Page[RecordedEvent[AssistantEvent]]:
    """Returns up to `limit` events of the assistant with versions below `before`, the newest first.

    Raises NotFound if there is no such assistant, or if it is deleted and the viewer may not see that.
    """
    head = await travel.head(ASSISTANT, assistant_id, viewer)
    if not viewer.sees_deleted and await deleted_since(travel.pool, assistant_id, 0, head.version):
        raise NotFound("assistant", assistant_id)
    last = min(head.version, before - 1)
    first = max(1, last - limit + 1)
    async with travel.pool.acquire() as db:
        recorded: list[RecordedEvent[Any]] = list(await event_log.read_range(db, assistant_id, first, last))
    return Page(recorded[::-1], more=first > 1 and last > 0)
