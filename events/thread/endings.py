"""The ends of a model call's reply and of a run that ends early.

All ends are decided here, so that an open message, an open step and the run end together, in the order that streams
show: message, step, run.
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
# Fields of a step's calls that only later prompts contain, so an event about the step's run has no copy of them.
UPSTREAM_FIELDS = ("upstream_fields", "message_fields")


def stop_model_call(
    run_id: str, call: OpenModelCall, usage: e.Usage, prompt: e.PromptRecord | None = None
) -> e.ModelCallStopped:
    """Returns the event that stops an open model call."""
    return e.ModelCallStopped(run_id=run_id, call=call.number, attempt=call.attempt, usage=usage, prompt=prompt)


def _stop_tool_call(run_id: str, step_id: str, call: HostedToolCall, shown: Mapping[str, Any]) -> e.ToolCallStopped:
    return e.ToolCallStopped(run_id=run_id, step_id=step_id, call_id=call.id, attempt=call.attempt, shown=dict(shown))


def end_early(
    run: RunState,
    how: EarlyEnd,
    at: datetime,
    *,
    reply: PartialReply | None = None,
    usage: e.Usage = NO_USAGE,
    error: e.LastError | None = None,
    shown: Mapping[str, Any] | None = None,
    prompt: e.PromptRecord | None = None,
) -> list[e.ThreadEvent]:
    """Ends the run before its time: first its open model call, then its open step, then the run.

    `reply` is the part of the model's reply that was received, `prompt` the record of its request, `shown` is what
    clients had seen of the open hosted call. If the reply is empty, `usage` is dropped: no step would have it, and the
    usages of the steps sum to that of the run.
    """
    events: list[e.ThreadEvent] = []
    if how == "cancelled" and run.status != "cancelling":
        events.append(e.RunCancelling(run_id=run.id))
    ended_at = run.expires_at if how == "expired" else int(at.timestamp())
    error = _expiry_cause(run, reply) if how == "expired" else error
    call = run.call if run.call is not None and run.call.broken is None else None
    if call is None or reply is None or reply.is_empty:
        usage = NO_USAGE
    if call is not None:
        events.append(stop_model_call(run.id, call, usage, prompt))
    if call is not None and reply is not None and not reply.is_empty:
        reason = _MESSAGE_REASON[how]
        events += reply_events(
            run, call, reply, at, cut=reason, usage=usage, step_end=how, ended_at=ended_at, error=error
        )
    if run.step is not None:
        if run.step.open is not None:
            events.append(_stop_tool_call(run.id, run.step.step_id, run.step.open, shown or {}))
        events.append(end_step(run, run.step.step_id, how, ended_at, run.step.usage, error))
    return [*events, _end_run(run, how, run.usage + usage, error)]


def _expiry_cause(run: RunState, reply: PartialReply | None) -> e.LastError | None:
    """Returns an error that says what an expired run waited for, or None if it waited for its client or its turn."""
    if run.call is not None:
        if run.call.broken is not None:
            return run.call.broken
        seconds = run.expires_at - run.call.started_at
        state = "had not ended" if reply is None or not reply.is_empty else "had not begun"
        message = f"The run expired {seconds} s after it had called the model: the model server's answer {state}."
        return e.LastError(code="server_error", message=message)
    if run.step is not None and run.step.open is not None:
        return e.LastError(code="server_error", message=f"The run expired while {run.step.open.type} was at work.")
    return None


def _end_run(run: RunState, how: EarlyEnd, usage: e.Usage, error: e.LastError | None) -> e.RunEnd:
    match how:
        case "cancelled":
            return e.RunCancelled(run_id=run.id, usage=usage)
        case "expired":
            return e.RunExpired(run_id=run.id, expired_at=run.expires_at, usage=usage, error=error)
        case "failed":
            assert error is not None
            return e.RunFailed(run_id=run.id, error=error, usage=usage)
        case _:
            assert_never(how)


def reply_events(
    run: RunState,
    call: OpenModelCall,
    reply: PartialReply,
    at: datetime,
    *,
    cut: e.IncompleteReason | None,
    usage: e.Usage,
    step_end: e.StepEnd = "completed",
    ended_at: int | None = None,
    error: e.LastError | None = None,
) -> list[e.ThreadEvent]:
    """Returns the steps and the message of a model call's reply.

    A message with its step comes first, then one step of all tool calls. The call's usage goes to the first step, so
    that the usages of the steps sum to that of the run. `cut` is the reason if the reply is incomplete. `ended_at` is
    the time at which the steps end, by default `at`.
    """
    events: list[e.ThreadEvent] = []
    when = int(at.timestamp()) if ended_at is None else ended_at
    if reply.text or reply.refusal or not reply.tool_calls:
        message = _write_message(run, call, reply, cut)
        step = _create_step(run, call, "message_creation", call.message_step_id, usage, message_id=call.message_id)
        events += [step, message, end_step(run, step.step_id, step_end, when, usage, error)]
        usage = NO_USAGE
    if reply.tool_calls:
        step = _create_step(
            run, call, "tool_calls", call.tool_step_id, usage, tool_calls=step_tool_calls(reply.tool_calls)
        )
        events.append(step)
        if cut is not None:
            tool_end: e.StepEnd = "failed" if step_end == "completed" else step_end
            reason = error or e.LastError(code="server_error", message="The model's reply was cut off in a tool call.")
            events.append(end_step(run, step.step_id, tool_end, when, usage, reason))
    return events


def _create_step(
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
    """Returns the event that ends a step. `error` is stored only if the step failed.

    A step has fewer error codes than a run (docs/behaviour.md, "Semantics"), so `invalid_prompt` becomes
    `server_error`.
    """
    last_error = error if how == "failed" else None
    if last_error is not None and last_error.code == "invalid_prompt":
        last_error = e.LastError(code="server_error", message=last_error.message)
    return e.StepEnded(run_id=run.id, step_id=step_id, status=how, ended_at=at, last_error=last_error, usage=usage)


def _write_message(
    run: RunState, call: OpenModelCall, reply: PartialReply, cut: e.IncompleteReason | None
) -> e.MessageWritten:
    return e.MessageWritten(
        message_id=call.message_id,
        run_id=run.id,
        assistant_id=run.assistant_id,
        content=message_content(reply),
        status="completed" if cut is None else "incomplete",
        incomplete_reason=cut,
        created_at=call.started_at,
        attachments=[dict(attachment) for attachment in reply.attachments],
    )


def message_content(reply: PartialReply) -> list[dict[str, Any]]:
    """Returns the content parts of a reply's message: first the images that tools made for it, then its text."""
    content: list[dict[str, Any]] = [image_part(file_id) for file_id in reply.images]
    if reply.text or not reply.refusal:
        annotations = [dict(annotation) for annotation in reply.annotations]
        content.append({"type": "text", "text": {"value": reply.text, "annotations": annotations}})
    if reply.refusal:
        content.append({"type": "refusal", "refusal": reply.refusal})
    return content


def image_part(file_id: str) -> dict[str, Any]:
    """Returns the content part of a message for an image that a tool made."""
    return {"type": "image_file", "image_file": {"file_id": file_id}}


def step_tool_calls(calls: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Returns the tool calls of a reply in the shape that a step stores."""
    return [_step_tool_call(call) for call in calls]


def _step_tool_call(call: Mapping[str, Any]) -> dict[str, Any]:
    kept = {
        "id": call["id"],
        "type": call.get("type", "function"),
        "function": {"name": call["name"], "arguments": call["arguments"]},
    }
    return kept | {name: call[name] for name in ("upstream_id", "file_search", *UPSTREAM_FIELDS) if name in call}
