"""Steps and messages that a stream shows before the events that create them, because deltas of them have arrived."""

from __future__ import annotations

from events.objects import Message, Run, Step
from service.deltas import MessageTextDelta, StepCallDelta


def placeholder_step(run: Run, delta: MessageTextDelta | StepCallDelta) -> Step:
    """Returns the step that a delta belongs to."""
    message_id = delta.message_id if isinstance(delta, MessageTextDelta) else None
    return Step(
        id=delta.step_id,
        thread_id=run.thread_id,
        run_id=run.id,
        assistant_id=run.assistant_id,
        created_at=delta.created_at,
        expires_at=run.expires_at or delta.created_at,
        type="tool_calls" if message_id is None else "message_creation",
        message_id=message_id,
        tool_calls=[],
    )


def placeholder_message(run: Run, delta: MessageTextDelta) -> Message:
    """Returns the message that a delta belongs to, without content."""
    return Message(
        id=delta.message_id,
        thread_id=run.thread_id,
        created_at=delta.created_at,
        role="assistant",
        content=[],
        attachments=[],
        metadata={},
        assistant_id=run.assistant_id,
        run_id=run.id,
        status="in_progress",
    )
