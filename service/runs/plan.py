"""What to do next with a run: a pure function of its state. A resumed run asks the same question as a new one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from events.thread_events import LastError, RunIncompleteReason
from events.thread_state import RunState

# Attempts at one model call whose process died: a bound for a call that kills.
MAX_CALL_ATTEMPTS = 5
# Attempts where clients saw a part of the answer before it broke: each leaves an incomplete message. While nothing was
# seen, the model's client retries by itself, inside an attempt.
MAX_SHOWN_ATTEMPTS = 3
# Seconds before the second of those; doubled before each next one.
FIRST_PAUSE = 0.5
# Model calls of one run: a bound on loops of tool calls that never end.
MAX_CALLS = 200
# Tools that clients carry out; every other type needs machinery of ours.
CLIENT_TOOLS = frozenset({"function"})


@dataclass(frozen=True, slots=True)
class StartCall:
    """Journal the next attempt at a model call, after `pause` seconds, then ask again."""

    pause: float = 0.0


@dataclass(frozen=True, slots=True)
class PerformCall:
    """Make the model call that is journaled as ours."""


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


Action = StartCall | PerformCall | Stop | Fail | Exhaust | Rest


def missing_tools(tools: Iterable[Mapping[str, Any]], machinery: frozenset[str] = frozenset()) -> list[str]:
    """The types among `tools` that nothing here can carry out, in order, each once."""
    return list(dict.fromkeys(tool["type"] for tool in tools if tool["type"] not in CLIENT_TOOLS | machinery))


def plan(run: RunState, *, ours: tuple[int, int] | None, missing: list[str], at: float) -> Action:
    """The next action. `ours` is the (call, attempt) that this executor journaled; `missing` tools have no machinery.

    `at` is now, in seconds since the epoch.
    """
    if run.status == "cancelling" or at >= run.expires_at:
        return Stop()
    if run.status == "requires_action":
        return Rest()
    if missing:
        return Fail(LastError(code="server_error", message=_unsupported(missing)))
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


def _unsupported(missing: list[str]) -> str:
    names = ", ".join(f"'{name}'" for name in missing)
    return f"This Everthread server has no machinery for tools of type {names} yet, so it cannot carry out this run."
