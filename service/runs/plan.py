"""Plans the next action for a run from its state. Pure, so a resumed run continues as a new one does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from events.thread.events import LastError, RunIncompleteReason
from events.thread.state import HostedToolCall, OpenToolStep, RunState
from service.tools.base import CrashPolicy

# Maximum of attempts at one model call whose process died, in case the call itself kills the process. Attempts that an
# orderly stop of the process broke off do not count.
MAX_CALL_DEATHS = 5
# Maximum of all attempts at one model call, whatever ended them.
MAX_CALL_ATTEMPTS = 100
# Maximum of attempts after clients saw a part of the answer. Each such attempt leaves an incomplete message. If nothing
# was seen, the model's client retries inside the attempt.
MAX_SHOWN_ATTEMPTS = 3
# Seconds before the second of these attempts, doubled before each further one.
FIRST_PAUSE_S = 0.5
# Maximum of model calls of one run, which ends endless loops of tool calls.
MAX_CALLS = 200
# Maximum of attempts at one hosted call whose process died, and of all its attempts. After that the call is reported to
# the model as lost.
MAX_TOOL_DEATHS = 3
MAX_TOOL_ATTEMPTS = 100
# Maximum of hosted calls of one run. A reply may hold many calls.
MAX_TOOL_CALLS = 500


@dataclass(frozen=True, slots=True)
class StartCall:
    """Journal the next attempt at a model call, after `pause` seconds."""

    pause: float = 0.0


@dataclass(frozen=True, slots=True)
class PerformCall:
    """Make the model call that this executor has journaled."""


@dataclass(frozen=True, slots=True)
class StartTool:
    """Journal the next attempt at a hosted call."""


@dataclass(frozen=True, slots=True)
class PerformTool:
    """Execute the hosted call that this executor has journaled."""

    call: HostedToolCall


@dataclass(frozen=True, slots=True)
class LoseTool:
    """Report a hosted call as lost. Its process died, and the call is not repeated."""

    call: HostedToolCall


@dataclass(frozen=True, slots=True)
class Stop:
    """End the run, which is cancelled or overdue."""


@dataclass(frozen=True, slots=True)
class Fail:
    """End the run as failed."""

    error: LastError


@dataclass(frozen=True, slots=True)
class Exhaust:
    """End the run as incomplete, because a token budget is spent."""

    reason: RunIncompleteReason


@dataclass(frozen=True, slots=True)
class Rest:
    """Do nothing. The run waits for outputs of the client."""


Action = StartCall | PerformCall | StartTool | PerformTool | LoseTool | Stop | Fail | Exhaust | Rest
# A call and its attempt. A model call is named by its number, a hosted call by its id.
JournaledCall = tuple[int | str, int]


def plan(
    run: RunState,
    *,
    own_call: JournaledCall | None,
    missing: list[str],
    at: float,
    after_crash: Callable[[str], CrashPolicy] = lambda type: "report",
) -> Action:
    """Returns the next action.

    `own_call` is the call that this executor has journaled last. `missing` has a sentence for each tool of the run that
    is unavailable. `at` is the time in seconds since the epoch. `after_crash` returns the policy of a type of hosted
    tool.
    """
    if run.status == "cancelling" or at >= run.expires_at:
        return Stop()
    if run.status == "requires_action":
        return Rest()
    if missing:
        return Fail(LastError(code="server_error", message=" ".join(missing)))
    if run.step is not None:
        return _next_tool_action(run, run.step, own_call, after_crash)
    call = run.call
    if call is None:
        return _next_model_action(run)
    if call.broken is not None and not (call.shown and call.broken.code == "server_error"):
        # The model client has retried all errors that can be retried unseen.
        return Fail(call.broken)
    if call.broken is None and own_call == (call.number, call.attempt):
        return PerformCall()
    if call.broken is not None and call.failures >= MAX_SHOWN_ATTEMPTS:
        return Fail(call.broken)
    if call.deaths >= MAX_CALL_DEATHS or call.attempt >= MAX_CALL_ATTEMPTS:
        times = call.deaths if call.deaths >= MAX_CALL_DEATHS else call.attempt
        return Fail(LastError(code="server_error", message=f"The model call was broken off {times} times."))
    pause = 0.0 if call.broken is None else FIRST_PAUSE_S * 2 ** (call.failures - 1)
    return _exhausted_budget(run) or StartCall(pause)


def _next_tool_action(
    run: RunState, step: OpenToolStep, own_call: JournaledCall | None, after_crash: Callable[[str], CrashPolicy]
) -> Action:
    call = step.open
    if call is None:
        return StartTool()
    if run.tool_calls > MAX_TOOL_CALLS:
        message = f"The run made more than {MAX_TOOL_CALLS} calls of tools without an end."
        return Fail(LastError(code="server_error", message=message))
    if own_call == (call.id, call.attempt):
        return PerformTool(call)
    is_hopeless = call.deaths >= MAX_TOOL_DEATHS or call.attempt >= MAX_TOOL_ATTEMPTS
    return StartTool() if after_crash(call.type) == "again" and not is_hopeless else LoseTool(call)


def _next_model_action(run: RunState) -> Action:
    if run.calls >= MAX_CALLS:
        return Fail(LastError(code="server_error", message=f"The run made {MAX_CALLS} model calls without an end."))
    return _exhausted_budget(run) or StartCall()


def _exhausted_budget(run: RunState) -> Exhaust | None:
    """Returns Exhaust if the calls so far have spent a budget. Broken calls count, since they were paid for."""
    if run.max_completion_tokens is not None and run.usage.completion_tokens >= run.max_completion_tokens:
        return Exhaust("max_completion_tokens")
    if run.max_prompt_tokens is not None and run.usage.prompt_tokens >= run.max_prompt_tokens:
        return Exhaust("max_prompt_tokens")
    return None
