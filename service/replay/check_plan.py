"""Compares the action that `plan` chooses today with the report that an executor appended next. Pure.

The executor planned at some moment between the append before and its own, so the plans at both are compared: a run may
have expired in between. These facts are in no event, so what follows from them is never a deviation:

- the tools that a process lacked, and an error that kept it from working on the run: the run failed;
- an append whose outcome was unknown: the executor then started the next attempt at its own open call.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import assert_never

from events.thread.commands import (
    BreakModelCall,
    ExecutorCommand,
    ExhaustRun,
    FailRun,
    FinishModelCall,
    FinishToolCall,
    ReleaseRun,
    StartModelCall,
    StartToolCall,
    StopRun,
    ThreadCommand,
)
from events.thread.events import LastError
from events.thread.state import RunState
from service.replay.event_texts import describe_action
from service.runs import plan as planning
from service.runs.plan import (
    Action,
    Exhaust,
    Fail,
    JournaledCall,
    LoseTool,
    PerformCall,
    PerformTool,
    Rest,
    StartCall,
    StartTool,
    Stop,
)
from service.tools.base import CrashPolicy

# The errors by which `plan` fails a run without an error of the model server.
_PLANNED_FAILURES = re.compile(
    r"The model call was broken off \d+ times\."
    r"|The run made (more than )?\d+ (model calls|calls of tools) without an end\."
)


def plan_deviation(
    run: RunState,
    command: ThreadCommand,
    *,
    own_call: JournaledCall | None,
    since: datetime,
    at: datetime,
    after_crash: Callable[[str], CrashPolicy],
) -> str | None:
    """Returns what `plan` does today instead of the command of an executor, or None if it agrees.

    `run` is the state before the append, whose time is `at`; `since` is the time of the run's append before it.
    `own_call` is the call that the executor had journaled last. Raises what `plan` raises.
    """
    if not isinstance(command, ExecutorCommand) or isinstance(command, ReleaseRun) or run.id != command.run_id:
        return None
    actions: list[Action] = []
    for when in (since, at):
        action = planning.plan(run, own_call=own_call, missing=[], at=when.timestamp(), after_crash=after_crash)
        if _agrees(run, action, command):
            return None
        actions.append(action)
    if own_call is not None and isinstance(command, StartModelCall | StartToolCall):
        restarted = planning.plan(run, own_call=None, missing=[], at=at.timestamp(), after_crash=after_crash)
        if isinstance(actions[0], PerformCall | PerformTool) and _agrees(run, restarted, command):
            return None
    return describe_action(actions[0])


def rest_deviation(run: RunState, *, at: datetime, after_crash: Callable[[str], CrashPolicy]) -> str | None:
    """Returns what `plan` does today instead of waiting for the client, or None if it waits. Raises as `plan` does."""
    if run.status != "requires_action":
        return None
    action = planning.plan(run, own_call=None, missing=[], at=at.timestamp(), after_crash=after_crash)
    is_overdue = isinstance(action, Stop) and at.timestamp() >= run.expires_at
    return None if isinstance(action, Rest) or is_overdue else describe_action(action)


def _agrees(run: RunState, action: Action, command: ExecutorCommand) -> bool:
    """Returns whether the executor may have appended the command when it performed the action."""
    if isinstance(command, FailRun) and not _is_planned(run, command.error):
        return True
    match action:
        case StartCall():
            return isinstance(command, StartModelCall)
        case PerformCall():
            return isinstance(command, FinishModelCall | BreakModelCall | StopRun) or (
                isinstance(command, ExhaustRun) and command.reason == "max_prompt_tokens"
            )
        case StartTool():
            return isinstance(command, StartToolCall)
        case PerformTool(call=call):
            if isinstance(command, FinishToolCall):
                return command.call_id == call.id and command.outcome != "lost"
            return isinstance(command, StopRun)
        case LoseTool(call=call):
            return isinstance(command, FinishToolCall) and (command.call_id, command.outcome) == (call.id, "lost")
        case Stop():
            return isinstance(command, StopRun)
        case Fail(error=error):
            return isinstance(command, FailRun) and command.error == error
        case Exhaust(reason=reason):
            return isinstance(command, ExhaustRun) and command.reason == reason
        case Rest():
            return False
        case _:
            assert_never(action)


def _is_planned(run: RunState, error: LastError) -> bool:
    """Returns whether `plan` failed the run with this error, rather than the world around it."""
    is_of_call = run.call is not None and run.call.broken == error
    return is_of_call or _PLANNED_FAILURES.fullmatch(error.message) is not None
