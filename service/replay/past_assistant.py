"""An assistant as it was."""

from __future__ import annotations

from events.errors import NotFound
from events.objects import Assistant
from events.streams import ASSISTANT
from projections import assistants
from projections.assistants import load_assistant
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
