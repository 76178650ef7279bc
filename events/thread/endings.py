"""How what a run has open ends: a reply's message and steps, and a whole run before its time.

All endings go through here, so that an open message, an open step and the run always end together and in the order that
streams show: message, step, run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, assert_never

from events.thread import events as e
from events.thread.commands import PartialReply
from events.thread.state import HostedToolCall, OpenModelCall, RunState

EarlyEnd = Literal["cancelled", "expired", "failed"]
_MESSAGE_REASON: Mapping[EarlyEnd, e.IncompleteReason] = {
    "cancelled": "run_cancelled",
    "expired": "run_expired",
    "failed": "run_failed",
}
NO_USAGE = e.Usage()


def stop_model_call(run_id: str, call: OpenModelCall, usage: e.Usage) -> e.ModelCallStopped:
    return e.ModelCallStopped(run_id=run_id, call=call.number, attempt=call.attempt, usage=usage)


def _tool_stopped(run_id: str, step_id: str, call: HostedToolCall, shown: Mapping[str, Any]) -> e.ToolCallStopped:
    return e.ToolCallStopped(run_id=run_id, step_id=step_id, call_id=call.id, attempt=call.attempt, shown=dict(shown))


def end_early(
    run: RunState,
    how: EarlyEnd,
    at: datetime,
    *,
    said: PartialReply | None = None,
    usage: e.Usage = NO_USAGE,
    error: e.LastError | None = None,
    shown: Mapping[str, Any] | None = None,
) -> list[e.ThreadEvent]:
    """Ends the run before its time: its open call (with what it had `said`), its open step, then the run itself.

    `shown` is what watchers had seen of the open hosted call. Where nothing was said `usage` is dropped: no step would
    have it, and the steps' usages sum to the run's.
    """
    events: list[e.ThreadEvent] = []
    if how == "cancelled" and run.status != "cancelling":
        events.append(e.RunCancelling(run_id=run.id))
    ended_at = run.expires_at if how == "expired" else int(at.timestamp())
    call = run.call if run.call is not None and run.call.broken is None else None
    if call is None or said is None or said.empty:
        usage = NO_USAGE
    if call is not None:
        events.append(stop_model_call(run.id, call, usage))
    if call is not None and said is not None and not said.empty:
        reason = _MESSAGE_REASON[how]
        events += reply_events(
            run, call, said, at, cut=reason, usage=usage, step_end=how, ended_at=ended_at, error=error
        )
    if run.step is not None:
        if run.step.open is not None:
            events.append(_tool_stopped(run.id, run.step.step_id, run.step.open, shown or {}))
        events.append(end_step(run, run.step.step_id, how, ended_at, run.step.usage, error))
    return [*events, _run_ended(run, how, run.usage + usage, error)]


def _run_ended(run: RunState, how: EarlyEnd, usage: e.Usage, error: e.LastError | None) -> e.RunEnd:
    match how:
        case "cancelled":
            return e.RunCancelled(run_id=run.id, usage=usage)
        case "expired":
            return e.RunExpired(run_id=run.id, expired_at=run.expires_at, usage=usage)
        case "failed":
            assert error is not None
            return e.RunFailed(run_id=run.id, error=error, usage=usage)
        case _:
            assert_never(how)


def reply_events(
    run: RunState,
    call: OpenModelCall,
    said: PartialReply,
    at: datetime,
    *,
    cut: e.IncompleteReason | None,
    usage: e.Usage,
    step_end: e.StepEnd = "completed",
    ended_at: int | None = None,
    error: e.LastError | None = None,
) -> list[e.ThreadEvent]:
    """The steps (and message) that a call brought: a message with its step first, then one step of all tool calls.

    The call's usage goes to the first step, so that the steps' usages sum to the run's.
    """
    events: list[e.ThreadEvent] = []
    when = int(at.timestamp()) if ended_at is None else ended_at
    if said.text or said.refusal or not said.tool_calls:
        message = _written(run, call, said, cut)
        step = _step(run, call, "message_creation", call.message_step_id, usage, message_id=call.message_id)
        events += [step, message, end_step(run, step.step_id, step_end, when, usage, error)]
        usage = NO_USAGE
    if said.tool_calls:
        step = _step(run, call, "tool_calls", call.tool_step_id, usage, tool_calls=step_tool_calls(said.tool_calls))
        events.append(step)
        if cut is not None:
            tool_end: e.StepEnd = "failed" if step_end == "completed" else step_end
            reason = error or e.LastError(code="server_error", message="The model's reply was cut off in a tool call.")
            events.append(end_step(run, step.step_id, tool_end, when, usage, reason))
    return events


def _step(
    run: RunState,
    call: OpenModelCall,
    kind: Literal["message_creation", "tool_calls"],
    step_id: str,
    usage: e.Usage,
    *,
    message_id: str | None = None,
    tool_calls: list[dict[str, Any]] | None = None,
) -> e.StepCreated:
    return e.StepCreated(
        run_id=run.id,
        step_id=step_id,
        assistant_id=run.assistant_id,
        kind=kind,
        message_id=message_id,
        tool_calls=tool_calls or [],
        created_at=call.started_at,
        expires_at=run.expires_at,
        usage=usage,
    )


def end_step(
    run: RunState, step_id: str, how: e.StepEnd, at: int, usage: e.Usage, error: e.LastError | None
) -> e.StepEnded:
    last_error = error if how == "failed" else None
    if last_error is not None and last_error.code == "invalid_prompt":
        # A step's codes are fewer than a run's (docs/behaviour.md, "Semantics").
        last_error = e.LastError(code="server_error", message=last_error.message)
    return e.StepEnded(run_id=run.id, step_id=step_id, status=how, ended_at=at, last_error=last_error, usage=usage)


def _written(
    run: RunState, call: OpenModelCall, said: PartialReply, cut: e.IncompleteReason | None
) -> e.MessageWritten:
    return e.MessageWritten(
        message_id=call.message_id,
        run_id=run.id,
        assistant_id=run.assistant_id,
        content=message_content(said),
        status="completed" if cut is None else "incomplete",
        incomplete_reason=cut,
        created_at=call.started_at,
        attachments=[dict(attachment) for attachment in said.attachments],
    )


def message_content(said: PartialReply) -> list[dict[str, Any]]:
    """A reply's words as message content parts, behind the images that tools made for it."""
    content: list[dict[str, Any]] = [image_part(file_id) for file_id in said.images]
    if said.text or not said.refusal:
        annotations = [dict(annotation) for annotation in said.annotations]
        content.append({"type": "text", "text": {"value": said.text, "annotations": annotations}})
    if said.refusal:
        content.append({"type": "refusal", "refusal": said.refusal})
    return content


def image_part(file_id: str) -> dict[str, Any]:
    """An image that a tool made, as a message's content part."""
    return {"type": "image_file", "image_file": {"file_id": file_id}}


def step_tool_calls(calls: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A reply's tool calls as a step keeps them."""
    return [_call(call) for call in calls]


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    kept = {
        "id": call["id"],
        "type": call.get("type", "function"),
        "function": {"name": call["name"], "arguments": call["arguments"]},
    }
    return {**kept, "file_search": dict(call["file_search"])} if "file_search" in call else kept
