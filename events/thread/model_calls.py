"""The rules for the reports of executors about a run: its model calls, their failures, and the run's end."""

from __future__ import annotations

from datetime import datetime
from typing import assert_never

from events.errors import StaleClaim
from events.thread import events as e
from events.thread.commands import (
    BreakModelCall,
    CallIds,
    ExecutorCommand,
    ExhaustRun,
    FailRun,
    FinishModelCall,
    FinishToolCall,
    ReleaseRun,
    StartModelCall,
    StartToolCall,
    StopRun,
)
from events.thread.endings import NO_USAGE, UPSTREAM_FIELDS, end_early, reply_events, step_tool_calls, stop_model_call
from events.thread.state import RunState, ThreadState
from events.thread.tool_calls import finish_tool_call, first_tool_call, start_tool_call


def decide_executor(state: ThreadState, command: ExecutorCommand, at: datetime) -> list[e.ThreadEvent]:
    """Raises StaleClaim if the run has ended, waits for its client, or is claimed under another epoch."""
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
        case StartToolCall():
            return start_tool_call(run)
        case FinishToolCall():
            return finish_tool_call(run, command, at)
        case FailRun(error=error, shown=shown):
            if run.status == "cancelling":
                return end_early(run, "cancelled", at, shown=shown)
            return end_early(run, "failed", at, error=error, shown=shown)
        case StopRun(reply=reply, usage=usage, shown=shown, prompt=prompt):
            if run.status == "cancelling":
                return end_early(run, "cancelled", at, reply=reply, usage=usage, shown=shown, prompt=prompt)
            if at.timestamp() < run.expires_at:
                return []
            return end_early(run, "expired", at, reply=reply, usage=usage, shown=shown, prompt=prompt)
        case ExhaustRun(reason=reason):
            return _exhaust(run, reason)
        case ReleaseRun():
            return [e.RunReleased(run_id=run.id, epoch=run.epoch)]
        case _:
            assert_never(command)


def start_model_call(run_id: str, *, number: int, attempt: int, ids: CallIds) -> e.ModelCallStarted:
    """Returns the event that starts a model call."""
    return e.ModelCallStarted(
        run_id=run_id,
        call=number,
        attempt=attempt,
        message_id=ids.message_id,
        message_step_id=ids.message_step_id,
        tool_step_id=ids.tool_step_id,
    )


def _start(run: RunState, ids: CallIds) -> list[e.ThreadEvent]:
    """Starts the next call, or the next attempt at the open call.

    The next attempt keeps the ids only if it is known that no client has seen a part of the last one: if the process of
    that one died, clients may have seen text that no event has.

    Returns no events if the run was cancelled meanwhile, or if tool calls are under way.
    """
    if run.status not in ("queued", "in_progress") or run.step is not None:
        return []
    started: list[e.ThreadEvent] = [e.RunStarted(run_id=run.id)] if run.status == "queued" else []
    old = run.call
    if old is None:
        return [*started, start_model_call(run.id, number=run.calls + 1, attempt=1, ids=ids)]
    if old.broken is not None and not old.shown:
        ids = CallIds(old.message_id, old.message_step_id, old.tool_step_id)
    return [*started, start_model_call(run.id, number=old.number, attempt=old.attempt + 1, ids=ids)]


def _finish(run: RunState, command: FinishModelCall, at: datetime) -> list[e.ThreadEvent]:
    call = run.call
    if call is None or call.broken is not None:
        raise StaleClaim(run.id)
    if run.status == "cancelling":
        return end_early(run, "cancelled", at, reply=command.reply, usage=command.usage, prompt=command.prompt)
    reply, reason, total = command.reply, command.finish_reason, run.usage + command.usage
    finished = e.ModelCallFinished(
        run_id=run.id,
        call=call.number,
        attempt=call.attempt,
        finish_reason=reason,
        model=command.model,
        usage=command.usage,
        prompt=command.prompt,
    )
    cut: e.IncompleteReason | None = (
        "max_tokens" if reason == "length" else "content_filter" if reason == "content_filter" else None
    )
    events: list[e.ThreadEvent] = [finished, *reply_events(run, call, reply, at, cut=cut, usage=command.usage)]
    if cut is not None:
        why: e.RunIncompleteReason = "content_filter" if cut == "content_filter" else "max_completion_tokens"
        return [*events, e.RunIncomplete(run_id=run.id, reason=why, usage=total)]
    if reply.tool_calls:
        kept = step_tool_calls(reply.tool_calls)
        hosted = next((call["id"] for call in kept if call["type"] != "function"), None)
        if hosted is not None:
            return [*events, first_tool_call(run.id, call.tool_step_id, hosted)]
        owed = [{name: call[name] for name in call if name not in UPSTREAM_FIELDS} for call in kept]
        return [*events, e.RunRequiresAction(run_id=run.id, tool_calls=owed)]
    return [*events, e.RunCompleted(run_id=run.id, usage=total)]


def _break(run: RunState, command: BreakModelCall, at: datetime) -> list[e.ThreadEvent]:
    call = run.call
    if call is None or call.broken is not None:
        raise StaleClaim(run.id)
    if run.status == "cancelling":
        return end_early(run, "cancelled", at, reply=command.reply, usage=command.usage, prompt=command.prompt)
    shown = not command.reply.is_empty
    failed = e.ModelCallFailed(
        run_id=run.id,
        call=call.number,
        attempt=call.attempt,
        error=command.error,
        shown=shown,
        usage=command.usage if shown else NO_USAGE,
        prompt=command.prompt,
    )
    if not shown:
        return [failed]
    ended = reply_events(
        run, call, command.reply, at, cut="run_failed", usage=command.usage, step_end="failed", error=command.error
    )
    return [failed, *ended]


def _exhaust(run: RunState, reason: e.RunIncompleteReason) -> list[e.ThreadEvent]:
    """Ends the run because a token budget is used up.

    Returns no events if the run was cancelled meanwhile, or if tool calls are under way: the executor plans again.
    """
    if run.status not in ("queued", "in_progress") or run.step is not None:
        return []
    events: list[e.ThreadEvent] = [e.RunStarted(run_id=run.id)] if run.status == "queued" else []
    if run.call is not None and run.call.broken is None:
        events.append(stop_model_call(run.id, run.call, NO_USAGE))
    return [*events, e.RunIncomplete(run_id=run.id, reason=reason, usage=run.usage)]
