"""Objects as live pieces show them: before the events that bring them, in the form those events will give them."""

from __future__ import annotations

from events.objects import Message, Run, Step
from service.deltas import MessageTextDelta, StepCallDelta


def placeholder_step(run: Run, item: MessageTextDelta | StepCallDelta) -> Step:
    """The step that a piece belongs to."""
    message_id = item.message_id if isinstance(item, MessageTextDelta) else None
    return Step(
        id=item.step_id,
        thread_id=run.thread_id,
        run_id=run.id,
        assistant_id=run.assistant_id,
        created_at=item.created_at,
        expires_at=run.expires_at or item.created_at,
        type="tool_calls" if message_id is None else "message_creation",
        message_id=message_id,
        tool_calls=[],
    )


def placeholder_message(run: Run, item: MessageTextDelta) -> Message:
    """The message that a piece belongs to, still empty."""
    return Message(
        id=item.message_id,
        thread_id=run.thread_id,
        created_at=item.created_at,
        role="assistant",
        content=[],
        attachments=[],
        metadata={},
        assistant_id=run.assistant_id,
        run_id=run.id,
        status="in_progress",
    )
