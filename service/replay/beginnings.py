"""Refusals that say when an object began: the request asks for a point in the past before that."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from events import event_log
from events.envelope import RecordedEvent
from events.errors import DomainError, NotFound
from service.database import Pool
from service.wire.as_of import AsOf, format_time

# The ids of the objects inside a stream that begin with an event, by its type. The message and the steps of a model
# call can be read from its start on (`projections.placeholders`).
BEGINNINGS: Mapping[str, Callable[[Any], Collection[str]]] = {
    "message.added": lambda event: (event.message_id,),
    "message.imported": lambda event: (event.message_id,),
    "message.written": lambda event: (event.message_id,),
    "model_call.started": lambda event: (event.message_id, event.message_step_id, event.tool_step_id),
    "run.created": lambda event: (event.run_id,),
    "run.imported": lambda event: (event.run_id,),
    "step.created": lambda event: (event.step_id,),
    "step.imported": lambda event: (event.step_id,),
    "vector_store.files_added": lambda event: [file.file_id for file in event.files],
    "vector_store.batch_created": lambda event: (event.batch_id,),
}


class NotYetFound(NotFound):
    """The object began later than the point `at`, with the event `began`."""

    def __init__(self, noun: str, id: str, at: AsOf, began: RecordedEvent[Any]) -> None:
        seconds = f"{began.at.timestamp():.6f}"
        DomainError.__init__(
            self,
            f"No {noun} found with id '{id}' at {at}: it began at version {began.version} of '{began.stream_id}', at"
            f" {format_time(began.at)} ({seconds}).",
        )


async def first_event(pool: Pool, stream_id: str) -> RecordedEvent[Any]:
    """Returns the first event of a stream that exists."""
    async with pool.acquire() as db:
        [first] = await event_log.read(db, stream_id, limit=1)
    return first


async def find_beginning(pool: Pool, stream_id: str, id: str, *, after: int, until: int) -> RecordedEvent[Any] | None:
    """Returns the first event with a version above `after` and up to `until` with which the object begins, or None."""
    more = True
    while more:
        async with pool.acquire() as db:
            page = await event_log.read_types(db, stream_id, list(BEGINNINGS), after=after, until=until)
        for recorded in page.recorded:
            if id in BEGINNINGS[recorded.event.type](recorded.event):
                return recorded
        more = page.more
        after = page.recorded[-1].version if page.recorded else until
    return None
