"""What executors report about a run's model calls, and how an open run ends early.

All endings go through here, so that an open message, an open step and the run always end together and in the order that
streams show: message, step, run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, assert_never

from events import thread_events as e
from events.errors import StaleClaim
from events.thread_commands import (
    BreakModelCall,
    CallIds,
    ExecutorCommand,
    ExhaustRun,
    FailRun,
    FinishModelCall,
    Partial,
    StartModelCall,
    StopRun,
)
from events.thread_state import OpenCall, RunState, ThreadState

EarlyEnd = Literal["cancelled", "expired", "failed"]
_MESSAGE_REASON: Mapping[EarlyEnd, e.IncompleteReason] = {
    "cancelled": "run_cancelled",
    "expired": "run_expired",
    "failed": "run_failed",
}
NOTHING = e.Usage()


def decide_executor(state: ThreadState, command: ExecutorCommand, at: datetime) -> list[e.ThreadEvent]:
    """Raises StaleClaim where the run has ended, waits for its client, or another epoch holds it."""
    run = state.run
    if run is None or run.id != command.run_id or run.epoch != command.epoch or run.process is None:
        raise StaleClaim(command.run_id)
    match command:
        case StartModelCall(ids=ids):
            return _start(run, ids)
        case FinishModelCall():
            return _finish(run, command, at)
        case BreakModelCall():
            return _break(run, command, at)
        case FailRun(error=error):
            if run.status == "cancelling":
                return end_early(run, "cancelled", at)
            return end_early(run, "failed", at, error=error)
        case StopRun(said=said, usage=usage):
            if run.status == "cancelling":
                return end_early(run, "cancelled", at, said=said, usage=usage)
            overdue = at.timestamp() >= run.expires_at
            return end_early(run, "expired", at, said=said, usage=usage) if overdue else []
        case ExhaustRun(reason=reason):
            return _exhaust(run, reason)
        case _:
            assert_never(command)


def start_call(run_id: str, *, number: int, attempt: int, ids: CallIds) -> e.ModelCallStarted:
    return e.ModelCallStarted(
        run_id=run_id,
        call=number,
        attempt=attempt,
        message_id=ids.message_id,
        message_step_id=ids.message_step_id,
        tool_step_id=ids.tool_step_id,
    )


def _start(run: RunState, ids: CallIds) -> list[e.ThreadEvent]:
    """The next call, or the next attempt at the open one. Nothing where a cancel came first: plan anew."""
    if run.status not in ("queued", "in_progress"):
        return []
    started: list[e.ThreadEvent] = [e.RunStarted(run_id=run.id)] if run.status == "queued" else []
    old = run.call
    if old is None:
        return [*started, start_call(run.id, number=run.calls + 1, attempt=1, ids=ids)]
    kept = CallIds(old.message_id, old.message_step_id, old.tool_step_id)
    return [
        *started,
        start_call(run.id, number=old.number, attempt=old.attempt + 1, ids=ids if old.shown else kept),
    ]


def _finish(run: RunState, command: FinishModelCall, at: datetime) -> list[e.ThreadEvent]:
    call = run.call
    if call is None or call.broken is not None:
        raise StaleClaim(run.id)
    if run.status == "cancelling":
        return end_early(run, "cancelled", at, said=command.said, usage=command.usage)
    said, reason, total = command.said, command.finish_reason, run.usage + command.usage
    finished = e.ModelCallFinished(
        run_id=run.id,
        call=call.number,
        attempt=call.attempt,
        finish_reason=reason,
        model=command.model,
        usage=command.usage,
    )
    cut: e.IncompleteReason | None = (
        "max_tokens" if reason == "length" else "content_filter" if reason == "content_filter" else None
    )
    events: list[e.ThreadEvent] = [finished, *_parts(run, call, said, at, cut=cut, usage=command.usage)]
    if cut is not None:
        why: e.RunIncompleteReason = "content_filter" if cut == "content_filter" else "max_completion_tokens"
        return [*events, e.RunIncomplete(run_id=run.id, reason=why, usage=total)]
    if said.tool_calls:
        return [*events, e.RunRequiresAction(run_id=run.id, tool_calls=_calls(said.tool_calls))]
    return [*events, e.RunCompleted(run_id=run.id, usage=total)]


def _break(run: RunState, command: BreakModelCall, at: datetime) -> list[e.ThreadEvent]:
    call = run.call
    if call is None or call.broken is not None:
        raise StaleClaim(run.id)
    if run.status == "cancelling":
        return end_early(run, "cancelled", at, said=command.said, usage=command.usage)
    shown = not command.said.empty
    failed = e.ModelCallFailed(
        run_id=run.id,
        call=call.number,
        attempt=call.attempt,
        error=command.error,
        shown=shown,
        usage=command.usage if shown else NOTHING,
    )
    if not shown:
        return [failed]
    ended = _parts(
        run, call, command.said, at, cut="run_failed", usage=command.usage, step_end="failed", error=command.error
    )
    return [failed, *ended]


def _exhaust(run: RunState, reason: e.RunIncompleteReason) -> list[e.ThreadEvent]:
    """Nothing where a cancel came first: plan anew."""
    if run.status not in ("queued", "in_progress"):
        return []
    events: list[e.ThreadEvent] = [e.RunStarted(run_id=run.id)] if run.status == "queued" else []
    if run.call is not None and run.call.broken is None:
        events.append(_stopped(run.id, run.call, NOTHING))
    return [*events, e.RunIncomplete(run_id=run.id, reason=reason, usage=run.usage)]


def _stopped(run_id: str, call: OpenCall, usage: e.Usage) -> e.ModelCallStopped:
    return e.ModelCallStopped(run_id=run_id, call=call.number, attempt=call.attempt, usage=usage)


def end_early(
    run: RunState,
    how: EarlyEnd,
    at: datetime,
    *,
    said: Partial | None = None,
    usage: e.Usage = NOTHING,
    error: e.LastError | None = None,
) -> list[e.ThreadEvent]:
    """Ends the run before its time: its open call (with what it had `said`), its open step, then the run itself.

    Where nothing was said `usage` is dropped: no step would have it, and the steps' usages sum to the run's.
    """
    events: list[e.ThreadEvent] = []
    if how == "cancelled" and run.status != "cancelling":
        events.append(e.RunCancelling(run_id=run.id))
    ended_at = run.expires_at if how == "expired" else int(at.timestamp())
    call = run.call if run.call is not None and run.call.broken is None else None
    if call is None or said is None or said.empty:
        usage = NOTHING
    if call is not None:
        events.append(_stopped(run.id, call, usage))
    if call is not None and said is not None and not said.empty:
        reason = _MESSAGE_REASON[how]
        events += _parts(run, call, said, at, cut=reason, usage=usage, step_end=how, ended_at=ended_at, error=error)
    if run.step is not None:
        events.append(_ended(run, run.step.step_id, how, ended_at, run.step.usage, error))
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


def _parts(
    run: RunState,
    call: OpenCall,
    said: Partial,
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
        events += [step, message, _ended(run, step.step_id, step_end, when, usage, error)]
        usage = NOTHING
    if said.tool_calls:
        step = _step(run, call, "tool_calls", call.tool_step_id, usage, tool_calls=_calls(said.tool_calls))
        events.append(step)
        if cut is not None:
            tool_end: e.StepEnd = "failed" if step_end == "completed" else step_end
            reason = error or e.LastError(code="server_error", message="The model's reply was cut off in a tool call.")
            events.append(_ended(run, step.step_id, tool_end, when, usage, reason))
    return events


def _step(
    run: RunState,
    call: OpenCall,
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


def _ended(
    run: RunState, step_id: str, how: e.StepEnd, at: int, usage: e.Usage, error: e.LastError | None
) -> e.StepEnded:
    last_error = error if how == "failed" else None
    if last_error is not None and last_error.code == "invalid_prompt":
        # A step's codes are fewer than a run's (BEHAVIOUR.md, "Semantics").
        last_error = e.LastError(code="server_error", message=last_error.message)
    return e.StepEnded(run_id=run.id, step_id=step_id, status=how, ended_at=at, last_error=last_error, usage=usage)


def _written(run: RunState, call: OpenCall, said: Partial, cut: e.IncompleteReason | None) -> e.MessageWritten:
    return e.MessageWritten(
        message_id=call.message_id,
        run_id=run.id,
        assistant_id=run.assistant_id,
        content=content_of(said),
        status="completed" if cut is None else "incomplete",
        incomplete_reason=cut,
        created_at=call.started_at,
    )


def content_of(said: Partial) -> list[dict[str, Any]]:
    """A reply's words as message content parts."""
    parts: list[dict[str, Any]] = []
    if said.text or not said.refusal:
        parts.append({"type": "text", "text": {"value": said.text, "annotations": []}})
    if said.refusal:
        parts.append({"type": "refusal", "refusal": said.refusal})
    return parts


def _calls(calls: Sequence[Mapping[str, str]]) -> list[dict[str, Any]]:
    return [
        {
            "id": call["id"],
            "type": "function",
            "function": {"name": call["name"], "arguments": call["arguments"]},
        }
        for call in calls
    ]
