"""Decides the import of a new thread with objects from elsewhere."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, assert_never

from events.errors import Rejection
from events.objects import Message, Run, Step
from events.thread import events as e
from events.thread.commands import ImportThread
from events.thread.run_status import TERMINAL
from events.thread.state import ThreadState

# The fields of objects that their events hold beside the body, or that follow from the stream.
_MESSAGE_KEYS = frozenset({"id", "thread_id", "role", "run_id"})
_RUN_KEYS = frozenset({"id", "thread_id"})
_STEP_KEYS = frozenset({"id", "thread_id", "run_id", "type"})


def import_thread(state: ThreadState, command: ImportThread) -> list[e.ThreadEvent]:
    """Returns the events of a new thread with the objects of the command.

    Raises Rejection if the thread exists, if an id comes twice, if a run or step has not ended, or if the run of a step
    does not come before it.
    """
    if state.exists:
        raise Rejection(f"Thread {state.id} already exists.")
    created = e.ThreadCreated(
        metadata=dict(command.metadata),
        tool_resources=dict(command.tool_resources),
        origin=command.origin,
        provenance=command.provenance,
    )
    places: dict[str, int] = {}
    events: list[e.ThreadEvent] = [created]
    for place, imported in enumerate(command.objects, start=1):
        if imported.id in places:
            raise Rejection(f"Two objects have the id {imported.id}.")
        events.append(_event(imported, place, places))
        places[imported.id] = place
    return events


def _event(imported: Message | Run | Step, place: int, places: dict[str, int]) -> e.ImportEvent:
    """Returns the event that imports an object. `places` are those of the objects before it."""
    match imported:
        case Message():
            run_place = places.get(imported.run_id) if imported.run_id is not None else None
            return e.MessageImported(
                message_id=imported.id,
                role=imported.role,
                run_id=imported.run_id,
                run_distance=None if run_place is None else place - run_place,
                body=_body(imported, _MESSAGE_KEYS),
            )
        case Run():
            if imported.status not in TERMINAL:
                raise Rejection(f"Run {imported.id} has not ended: it is {imported.status}.")
            return e.RunImported(run_id=imported.id, body=_body(imported, _RUN_KEYS))
        case Step():
            if imported.run_id not in places:
                raise Rejection(f"Step {imported.id} comes before its run {imported.run_id}.")
            if imported.status == "in_progress":
                raise Rejection(f"Step {imported.id} has not ended.")
            return e.StepImported(
                run_id=imported.run_id,
                step_id=imported.id,
                kind=imported.type,
                run_distance=place - places[imported.run_id],
                body=_body(imported, _STEP_KEYS),
            )
        case _:
            assert_never(imported)


def _body(imported: Message | Run | Step, keys: Collection[str]) -> dict[str, Any]:
    """Returns the fields of an object except the keys of its event, in their order."""
    return {name: getattr(imported, name) for name in type(imported).__slots__ if name not in keys}
