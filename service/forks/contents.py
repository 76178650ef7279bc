"""The contents of a fork: the objects of its origin at a point, with ids of their own. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import datetime

from events.envelope import Origin, RecordedEvent
from events.errors import Rejection
from events.event_log import number_events
from events.ids import IdSource
from events.object_changes import merge_step_fields, run_patch, step_patch
from events.objects import Json, Message, Run, Step
from events.thread import events as e
from events.thread.endings import end_early
from events.thread.queue import cancel_waiting
from events.thread.state import ThreadState
from projections.messages import load_message
from projections.row_store.tables import Row
from projections.runs import load_run
from projections.steps import load_step
from service.forks.points import ForkPoint
from service.replay.past_thread import is_hidden, thread_of
from service.replay.time_travel import PastStream

# Messages, runs and steps of a fork. 100,000 take some 20 s of CPU time, and a gigabyte of memory meanwhile.
MAX_OBJECTS = 150_000
_PREFIXES: dict[type, str] = {Message: "msg", Run: "run", Step: "step"}


@dataclass(frozen=True, slots=True)
class ForkContents:
    """The beginning of a fork. `ids` are the new ids of the objects by their ids in the origin."""

    metadata: dict[str, str]
    tool_resources: Json
    objects: list[Message | Run | Step]
    ids: dict[str, str]


def copy_thread(past: PastStream, point: ForkPoint, at: datetime, origin: Origin, ids: IdSource) -> ForkContents:
    """Returns the objects of a thread at a point, in the order of their creation, with new ids.

    Runs that have not ended are cancelled at the time `at`, as the deletion of a thread cancels them. Messages that are
    deleted, or hidden from the viewer, are left out.

    Raises Rejection if there are more than MAX_OBJECTS objects.
    """
    found = [loaded for _, loaded in sorted(_read(past, point), key=lambda pair: pair[0])]
    if len(found) > MAX_OBJECTS:
        message = f"Thread {past.id} has more than {MAX_OBJECTS} messages, runs and steps: it cannot be forked."
        raise Rejection(message, code="history_too_large")
    ended = _EarlyEnds(past.state, at, origin)
    new_ids = {one.id: ids.new(_PREFIXES[type(one)]) for one in found}
    thread = thread_of(past.tables, past.id)
    return ForkContents(
        metadata=thread.metadata,
        tool_resources=thread.tool_resources,
        objects=[_with_ids(ended.apply(one), new_ids, ids) for one in found],
        ids=new_ids,
    )


def _read(past: PastStream, point: ForkPoint) -> Iterator[tuple[int, Message | Run | Step]]:
    """Yields the objects that belong to the fork, each with its position."""
    places = {row["run_id"]: row["position"] for row in past.tables.rows("runs")}
    for row in past.tables.rows("runs"):
        if point.includes(row["position"]):
            yield row["position"], load_run(row)
    for row in past.tables.rows("steps"):
        if point.includes(places[row["run_id"]]):
            yield row["position"], load_step(row)
    for row in past.tables.rows("messages"):
        if point.includes(_message_place(row)) and not is_hidden(past, row):
            yield row["position"], load_message(row)


def _message_place(row: Row) -> int:
    """Returns the position at which a message stands in prompts: that of its run, or its own."""
    place: int = row["position"] if row["place"] is None else row["place"]
    return place


class _EarlyEnds:
    """The ends of the runs that have not ended, by the rules of `events.thread.endings`.

    If the point is in the middle of an append, the step of a message may be open; it ends too.
    """

    def __init__(self, state: ThreadState, at: datetime, origin: Origin) -> None:
        events = end_early(state.run, "cancelled", at) if state.run is not None else []
        events += [event for waiting in state.waiting for event in cancel_waiting(waiting, at)]
        self._seconds = int(at.timestamp())
        self._by_id: dict[str, list[RecordedEvent[e.ThreadEvent]]] = {}
        for recorded in number_events(state.id, 0, events, at, origin):
            for name in ("run_id", "step_id"):
                if (id := getattr(recorded.event, name, None)) is not None:
                    self._by_id.setdefault(id, []).append(recorded)

    def apply(self, found: Message | Run | Step) -> Message | Run | Step:
        """Returns the object after those events of the ends that concern it."""
        for recorded in self._by_id.get(found.id, ()):
            if isinstance(found, Run):
                found = replace(found, **(run_patch(recorded) or {}))
            elif isinstance(found, Step):
                found = Step(**merge_step_fields(asdict(found), step_patch(recorded.event) or {}))
        if isinstance(found, Step) and found.status == "in_progress":
            return replace(found, status="cancelled", ended_at=self._seconds)
        return found


def _with_ids(found: Message | Run | Step, new_ids: dict[str, str], ids: IdSource) -> Message | Run | Step:
    """Returns the object with its new id, and with those of the objects that it names."""
    id = new_ids[found.id]
    if isinstance(found, Run):
        return replace(found, id=id)
    if isinstance(found, Message):
        return replace(found, id=id, run_id=None if found.run_id is None else new_ids[found.run_id])
    message_id = found.message_id
    if message_id is not None and message_id not in new_ids:  # the message was deleted
        new_ids[message_id] = ids.new("msg")
    return replace(
        found,
        id=id,
        run_id=new_ids[found.run_id],
        message_id=None if message_id is None else new_ids[message_id],
    )
