"""The rules for the reports of executors about calls of hosted tools.

The hosted calls of a step are carried out one after the other, in the model's order. After the last one the run waits
for the client if the step has functions too; otherwise the step ends and the next model call follows. The first call
starts in the append that creates the step, each later one in the append of the result before it.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from events.errors import StaleClaim
from events.thread import events as e
from events.thread.commands import FinishToolCall
from events.thread.endings import end_early, end_step
from events.thread.state import OpenToolStep, RunState


def first_tool_call(run_id: str, step_id: str, call_id: str) -> e.ToolCallStarted:
    """Returns the event that starts the first attempt at a hosted call."""
    return e.ToolCallStarted(run_id=run_id, step_id=step_id, call_id=call_id, attempt=1)


def start_tool_call(run: RunState) -> list[e.ThreadEvent]:
    """Starts the next attempt at the open call, or the first attempt at the next one.

    Returns no events if the run was cancelled meanwhile: the executor plans again.
    """
    if run.status != "in_progress" or run.step is None or not run.step.hosted:
        return []
    call = run.step.hosted[0]
    started = first_tool_call(run.id, run.step.step_id, call.id)
    return [started.model_copy(update={"attempt": call.attempt + 1})]


def finish_tool_call(run: RunState, command: FinishToolCall, at: datetime) -> list[e.ThreadEvent]:
    """Returns the result of the call, and the events that follow from it.

    Raises StaleClaim if another call or another attempt is open.
    """
    step = run.step
    if step is None or step.open is None or (step.open.id, step.open.attempt) != (command.call_id, command.attempt):
        raise StaleClaim(run.id)
    finished = e.ToolCallFinished(
        run_id=run.id,
        step_id=step.step_id,
        call_id=command.call_id,
        attempt=command.attempt,
        outcome=command.outcome,
        shown=dict(command.shown),
        output=command.output,
        files=list(command.files),
        citations=list(command.citations),
    )
    if run.status == "cancelling":
        # The result is kept, since the tool has had its effects; no further call starts.
        left = replace(run, step=replace(step, hosted=step.hosted[1:]))
        return [finished, *end_early(left, "cancelled", at)]
    return [finished, _after_call(run, step, command, at)]


def _after_call(run: RunState, step: OpenToolStep, command: FinishToolCall, at: datetime) -> e.ThreadEvent:
    others = step.hosted[1:]
    if others:
        return first_tool_call(run.id, step.step_id, others[0].id)
    if step.call_ids:
        return e.RunRequiresAction(run_id=run.id, tool_calls=[dict(call) for call in command.functions])
    return end_step(run, step.step_id, "completed", int(at.timestamp()), step.usage, None)
