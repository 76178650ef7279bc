"""What to do next with a run: a pure function of its state. A resumed run asks the same question as a new one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from events.thread.events import LastError, RunIncompleteReason
from events.thread.state import HostedToolCall, OpenToolStep, RunState
from service.tools.base import CrashPolicy

# Attempts at one model call whose process died: a bound for a call that kills.
MAX_CALL_ATTEMPTS = 5
# Attempts where clients saw a part of the answer before it broke: each leaves an incomplete message. While nothing was
# seen, the model's client retries by itself, inside an attempt.
MAX_SHOWN_ATTEMPTS = 3
# Seconds before the second of those; doubled before each next one.
FIRST_PAUSE = 0.5
# Model calls of one run: a bound on loops of tool calls that never end.
MAX_CALLS = 200
# Attempts at one call of a hosted tool whose process died; then the model is told that it was lost.
MAX_TOOL_ATTEMPTS = 3
# Calls of hosted tools of one run: a reply may ask for many.
MAX_TOOL_CALLS = 500


@dataclass(frozen=True, slots=True)
class StartCall:
    """Journal the next attempt at a model call, after `pause` seconds, then ask again."""

    pause: float = 0.0


@dataclass(frozen=True, slots=True)
class PerformCall:
    """Make the model call that is journaled as ours."""


@dataclass(frozen=True, slots=True)
class StartTool:
    """Journal the next attempt at a hosted call, then ask again."""


@dataclass(frozen=True, slots=True)
class PerformTool:
    """Carry out the hosted call that is journaled as ours."""

    call: HostedToolCall


@dataclass(frozen=True, slots=True)
class LoseTool:
    """The process that carried out a hosted call died, and it is not made again: report it as lost."""

    call: HostedToolCall


@dataclass(frozen=True, slots=True)
class Stop:
    """The run is cancelled or overdue: end it."""


@dataclass(frozen=True, slots=True)
class Fail:
    error: LastError


@dataclass(frozen=True, slots=True)
class Exhaust:
    """A token budget is used up."""

    reason: RunIncompleteReason


@dataclass(frozen=True, slots=True)
class Rest:
    """Nothing for a process to do: the client's outputs are awaited."""


Action = StartCall | PerformCall | StartTool | PerformTool | LoseTool | Stop | Fail | Exhaust | Rest
# A call and its attempt: a model call by its number, a hosted one by its id.
Journaled = tuple[int | str, int]


def plan(
    run: RunState,
    *,
    ours: Journaled | None,
    missing: list[str],
    at: float,
    after_crash: Callable[[str], CrashPolicy] = lambda kind: "report",
) -> Action:
    """The next action. `ours` is what this executor journaled; `missing` says of tools why they cannot be had.

    `at` is now, in seconds since the epoch; `after_crash` the policy of a type of hosted tool.
    """
    if run.status == "cancelling" or at >= run.expires_at:
        return Stop()
    if run.status == "requires_action":
        return Rest()
    if missing:
        return Fail(LastError(code="server_error", message=" ".join(missing)))
    if run.step is not None:
        return _tool(run, run.step, ours, after_crash)
    call = run.call
    if call is None:
        return _next_call(run)
    if call.broken is not None and not (call.shown and call.broken.code == "server_error"):
        # Whatever could be tried again unseen, the model client has tried.
        return Fail(call.broken)
    if call.broken is None and ours == (call.number, call.attempt):
        return PerformCall()
    if call.attempt >= (MAX_CALL_ATTEMPTS if call.broken is None else MAX_SHOWN_ATTEMPTS):
        given_up = LastError(code="server_error", message=f"The model call was broken off {call.attempt} times.")
        return Fail(call.broken or given_up)
    pause = 0.0 if call.broken is None else FIRST_PAUSE * 2 ** (call.attempt - 1)
    return _exhausted(run) or StartCall(pause)


def _tool(
    run: RunState, step: OpenToolStep, ours: Journaled | None, after_crash: Callable[[str], CrashPolicy]
) -> Action:
    call = step.open
    if call is None:
        return StartTool()
    if run.tool_calls > MAX_TOOL_CALLS:
        message = f"The run made more than {MAX_TOOL_CALLS} calls of tools without an end."
        return Fail(LastError(code="server_error", message=message))
    if ours == (call.id, call.attempt):
        return PerformTool(call)
    again = after_crash(call.type) == "again" and call.attempt < MAX_TOOL_ATTEMPTS
    return StartTool() if again else LoseTool(call)


def _next_call(run: RunState) -> Action:
    if run.calls >= MAX_CALLS:
        return Fail(LastError(code="server_error", message=f"The run made {MAX_CALLS} model calls without an end."))
    return _exhausted(run) or StartCall()


def _exhausted(run: RunState) -> Exhaust | None:
    """A budget that the calls so far have used up; broken ones count, they were paid for."""
    if run.max_completion_tokens is not None and run.usage.completion_tokens >= run.max_completion_tokens:
        return Exhaust("max_completion_tokens")
    if run.max_prompt_tokens is not None and run.usage.prompt_tokens >= run.max_prompt_tokens:
        return Exhaust("max_prompt_tokens")
    return None
