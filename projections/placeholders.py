"""Placeholders of messages and steps: a stream has shown their ids, but no event has created them. Such an id is never
a 404.

A model call creates the ids of the objects that it may create. While it is under way, a placeholder is an object in
progress; if its process died and no event created the object, it is an object that ended with its run.
"""

from __future__ import annotations

from typing import Literal

from events import event_log
from events.envelope import RecordedEvent
from events.errors import NotFound
from events.objects import Message, Run, Step
from events.thread.events import IncompleteReason, ModelCallStarted
from events.thread.run_status import TERMINAL
from projections import runs
from sql.connection import Connection


async def message(db: Connection, project_id: str, thread_id: str, message_id: str) -> Message:
    """Returns a placeholder of the message. Raises NotFound if no model call has this id."""
    call = await _call(db, thread_id, message_id)
    if call is None or call.event.message_id != message_id:
        raise NotFound("message", message_id)
    return placeholder_message(await runs.get(db, project_id, thread_id, call.event.run_id), call)


def placeholder_message(run: Run, call: RecordedEvent[ModelCallStarted]) -> Message:
    """Returns a placeholder of the message that the model call of the run may write."""
    has_ended = run.status in TERMINAL
    return Message(
        id=call.event.message_id,
        thread_id=run.thread_id,
        created_at=call.seconds,
        role="assistant",
        content=[],
        attachments=[],
        metadata={},
        assistant_id=run.assistant_id,
        run_id=run.id,
        status="incomplete" if has_ended else "in_progress",
        incomplete_reason=_reason(run) if has_ended else None,
        ended_at=_ended_at(run),
    )


async def step(db: Connection, project_id: str, thread_id: str, run_id: str, step_id: str) -> Step:
    """Returns a placeholder of the step. Raises NotFound if no model call of the run has this id."""
    call = await _call(db, thread_id, step_id)
    if call is None or call.event.run_id != run_id:
        raise NotFound("run step", step_id)
    if step_id not in (call.event.message_step_id, call.event.tool_step_id):
        raise NotFound("run step", step_id)
    return placeholder_step(await runs.get(db, project_id, thread_id, run_id), call, step_id)


def placeholder_step(run: Run, call: RecordedEvent[ModelCallStarted], step_id: str) -> Step:
    """Returns a placeholder of a step that the model call of the run may create."""
    is_message_step = step_id == call.event.message_step_id
    return Step(
        id=step_id,
        thread_id=run.thread_id,
        run_id=run.id,
        assistant_id=run.assistant_id,
        created_at=call.seconds,
        expires_at=run.expires_at or call.seconds,
        type="message_creation" if is_message_step else "tool_calls",
        message_id=call.event.message_id if is_message_step else None,
        tool_calls=[],
        status=_status(run),
        ended_at=_ended_at(run),
    )


async def _call(db: Connection, thread_id: str, id: str) -> RecordedEvent[ModelCallStarted] | None:
    """Returns the first model call that may write the message or step `id`. Ids cannot be guessed, so the client has
    received it. Returns None if there is no such call, or if there is a message of this id, perhaps a deleted one.
    """
    found = await runs.promising_run(db, thread_id, id)
    if found is None:
        return None
    _, version = found
    more = True
    while more:
        calls = await event_log.read_types(db, thread_id, ["model_call.started"], after=version, until=event_log.NO_END)
        for recorded in calls.recorded:
            call = recorded.event
            assert isinstance(call, ModelCallStarted)
            if id in (call.message_id, call.message_step_id, call.tool_step_id):
                return recorded  # type: ignore[return-value]
            version = recorded.version
        more = calls.more
    return None


def _ended_at(run: Run) -> int | None:
    return run.cancelled_at or run.failed_at or run.completed_at


def _reason(run: Run) -> IncompleteReason:
    return "run_cancelled" if run.status == "cancelled" else "run_expired" if run.status == "expired" else "run_failed"


def _status(run: Run) -> Literal["in_progress", "cancelled", "expired", "failed"]:
    if run.status not in TERMINAL:
        return "in_progress"
    return "cancelled" if run.status == "cancelled" else "expired" if run.status == "expired" else "failed"
