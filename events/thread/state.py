"""The state of a thread: the facts that `decide` and `plan` need. Its size does not grow with the thread.

It is stored in the head of the stream, so that a command loads one row. It contains no text, no finished run and no old
message: facts about those are read from views and come with the command.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import assert_never

from events.envelope import RecordedEvent, classes_of
from events.objects import RunStatus
from events.replacement import replace
from events.thread import events as e
from events.thread.run_status import TERMINAL, transition

STATE_SCHEMA = 7


@dataclass(frozen=True, slots=True)
class OpenModelCall:
    """A model call that has started and not ended.

    After `model_call.failed`, `broken` is its error, and the executor plans the next attempt or the run's end. `shown`
    says that clients saw a part of the failed attempt, so the next attempt must not reuse the ids. `failures` counts
    the attempts that failed, and `deaths` those whose process died.
    """

    number: int
    attempt: int
    message_id: str
    message_step_id: str
    tool_step_id: str
    started_at: int
    broken: e.LastError | None = None
    shown: bool = False
    failures: int = 0
    deaths: int = 0


@dataclass(frozen=True, slots=True)
class HostedToolCall:
    """A call of a hosted tool that has no result yet. `attempt` is 0 until it starts.

    `deaths` counts the attempts whose process died.
    """

    id: str
    type: str
    attempt: int = 0
    deaths: int = 0


@dataclass(frozen=True, slots=True)
class OpenToolStep:
    """A tool_calls step that has not ended.

    Its `hosted` calls are carried out first, in order; then the client owes outputs for `call_ids`. `usage` is that of
    the ended step.
    """

    step_id: str
    call_ids: tuple[str, ...]
    usage: e.Usage = field(default_factory=e.Usage)
    hosted: tuple[HostedToolCall, ...] = ()

    @property
    def open(self) -> HostedToolCall | None:
        """The hosted call that has started, or None."""
        return self.hosted[0] if self.hosted and self.hosted[0].attempt else None


@dataclass(frozen=True, slots=True)
class RunState:
    """The active run. `calls` counts the model calls started, `usage` sums those ended; `expires_at` in seconds.

    `position` is the version of the event that created the run. `prompt_bytes` sums the bytes of the bodies of requests
    that its events keep.

    `tool_calls` counts the calls of hosted tools started, `earlier_tool_calls` those that earlier runs of the thread
    started.
    """

    id: str
    position: int
    assistant_id: str
    status: RunStatus
    expires_at: int
    max_prompt_tokens: int | None
    max_completion_tokens: int | None
    epoch: int = 0
    process: int | None = None
    calls: int = 0
    call: OpenModelCall | None = None
    step: OpenToolStep | None = None
    usage: e.Usage = field(default_factory=e.Usage)
    tool_calls: int = 0
    earlier_tool_calls: int = 0
    prompt_bytes: int = 0


@dataclass(frozen=True, slots=True)
class WaitingRun:
    """A run that waits for other runs of its thread. When it is admitted, it expires `lifetime` seconds later."""

    run: RunState
    lifetime: int


@dataclass(frozen=True, slots=True)
class ThreadState:
    """`run` is the active run, which locks the thread; `user_messages` counts its messages of role user.

    `waiting` are the runs behind the active one, in the order in which they were created. `tool_calls` counts the calls
    of hosted tools that runs of the thread started.
    """

    id: str
    exists: bool = False
    user_messages: int = 0
    run: RunState | None = None
    waiting: tuple[WaitingRun, ...] = ()
    tool_calls: int = 0


def run_positions(batch: Sequence[RecordedEvent[e.ThreadEvent]], before: ThreadState) -> dict[str, int]:
    """Returns the positions of the runs that events of the batch may name, by id.

    `before` is the state before the batch.
    """
    unfinished = [before.run] if before.run is not None else []
    positions = {run.id: run.position for run in (*unfinished, *(waiting.run for waiting in before.waiting))}
    return positions | {
        recorded.event.run_id: recorded.version for recorded in batch if type(recorded.event) is e.RunCreated
    }


def count_hosted_calls(step: e.StepImported) -> int:
    """Returns the number of the step's calls of hosted tools that were started: those have a result."""
    return sum(call["type"] != "function" and call["id"] in step.body["results"] for call in step.body["tool_calls"])


# Events that concern the active run, if they concern no run that waits.
_OfActiveRun = e.RunEvent | e.StepEvent | e.ModelCallEvent | e.ToolCallEvent
_OF_ACTIVE_RUN = classes_of(_OfActiveRun) - {e.RunCreated, e.RunAdmitted, e.RunModified, e.RunReviewed}


def evolve(state: ThreadState, recorded: RecordedEvent[e.ThreadEvent]) -> ThreadState:
    """Returns the state after an event. Raises IllegalTransition if the log breaks the table of statuses."""
    if not state.waiting and type(recorded.event) in _OF_ACTIVE_RUN:
        return _evolve_active(state, recorded)
    match recorded.event:  # the most frequent events first: a class that does not match takes 150 ns
        case e.MessageAdded(role=role):
            return replace(state, user_messages=state.user_messages + (role == "user"))
        case e.RunCreated(lifetime=None) as created:
            return replace(
                state, run=replace(_initial_run(created, recorded.version), earlier_tool_calls=state.tool_calls)
            )
        case e.MessageWritten() | e.ThreadModified() | e.ThreadForked() | e.MessageModified():
            return state
        case e.ThreadCreated():
            return replace(state, exists=True)
        case e.RunModified() | e.RunReviewed():
            return state
        case e.MessageImported(role=role):
            return replace(state, user_messages=state.user_messages + (role == "user"))
        case e.RunImported():
            return state
        case e.StepImported() as imported:
            return replace(state, tool_calls=state.tool_calls + count_hosted_calls(imported))
        case e.ThreadDeleted():
            return ThreadState(id=state.id)
        case e.MessageDeleted(role=role):
            return replace(state, user_messages=max(0, state.user_messages - (role == "user")))
        case e.RunCreated(lifetime=int(lifetime)) as created:
            return replace(
                state, waiting=(*state.waiting, WaitingRun(_initial_run(created, recorded.version), lifetime))
            )
        case e.RunAdmitted(run_id=run_id, expires_at=expires_at):
            first, *rest = state.waiting
            assert (first.run.id, state.run) == (run_id, None), f"{run_id} was admitted out of turn"
            run = replace(first.run, expires_at=expires_at, earlier_tool_calls=state.tool_calls)
            return replace(state, run=run, waiting=tuple(rest))
        case _ if any(one.run.id == recorded.event.run_id for one in state.waiting):
            return replace(state, waiting=_evolve_waiting(state.waiting, recorded))
        case _:
            _others: _OfActiveRun = recorded.event
            return _evolve_active(state, recorded)


def _evolve_active(state: ThreadState, recorded: RecordedEvent[e.ThreadEvent]) -> ThreadState:
    """Applies an event to the active run."""
    assert state.run is not None, f"{recorded.event.type} without an active run"
    run = evolve_run(state.run, recorded)
    tool_calls = run.earlier_tool_calls + run.tool_calls
    return replace(state, run=None if run.status in TERMINAL else run, tool_calls=tool_calls)


def _evolve_waiting(waiting: tuple[WaitingRun, ...], recorded: RecordedEvent[e.ThreadEvent]) -> tuple[WaitingRun, ...]:
    """Applies an event to the waiting run that it names. A waiting run that ends is removed."""
    run_id = getattr(recorded.event, "run_id", None)
    evolved = (replace(one, run=evolve_run(one.run, recorded)) if one.run.id == run_id else one for one in waiting)
    return tuple(one for one in evolved if one.run.status not in TERMINAL)


def evolve_run(run: RunState, recorded: RecordedEvent[e.ThreadEvent]) -> RunState:
    """Returns the state of a run after an event."""
    match recorded.event:
        case e.RunClaimed(epoch=epoch, process=process):
            has_died = run.process not in (None, process)
            return replace(_with_death(run) if has_died else run, epoch=epoch, process=process)
        case e.RunStarted():
            return _with_status(run, "in_progress")
        case e.RunCompleted():
            return _with_status(run, "completed")
        case e.ModelCallStarted() as started:
            return replace(run, calls=started.call, call=_open_call(run, started, recorded.seconds))
        case e.ModelCallFinished(usage=usage, prompt=prompt) | e.ModelCallStopped(usage=usage, prompt=prompt):
            return replace(run, call=None, usage=run.usage + usage, prompt_bytes=run.prompt_bytes + _kept_bytes(prompt))
        case e.ModelCallFailed(error=error, shown=shown, usage=usage, prompt=prompt):
            assert run.call is not None
            return replace(
                run,
                call=replace(run.call, broken=error, shown=shown, failures=run.call.failures + 1),
                usage=run.usage + usage,
                prompt_bytes=run.prompt_bytes + _kept_bytes(prompt),
            )
        case e.StepCreated(kind="tool_calls") as step:
            return replace(run, step=_tool_step(step))
        case e.StepCreated():
            return run
        case e.ToolCallStarted(attempt=attempt):
            return replace(_with_hosted_attempt(run, attempt), tool_calls=run.tool_calls + (attempt == 1))
        case e.ToolCallFinished() | e.ToolCallStopped():
            return _with_hosted_attempt(run, None)
        case e.StepEnded(step_id=step_id):
            return replace(run, step=None) if run.step is not None and run.step.step_id == step_id else run
        case e.RunReleased():
            return replace(run, process=None)
        case e.RunQueued():
            return replace(_with_status(run, "queued"), process=None)
        case e.RunRequiresAction():
            return replace(_with_status(run, "requires_action"), process=None)
        case e.RunCancelling():
            return _with_status(run, "cancelling")
        case e.RunCancelled():
            return _with_status(run, "cancelled")
        case e.RunIncomplete():
            return _with_status(run, "incomplete")
        case e.RunFailed():
            return _with_status(run, "failed")
        case e.RunExpired():
            return _with_status(run, "expired")
        case e.ToolOutputsSubmitted():
            return run
        case (
            e.ThreadCreated()
            | e.ThreadModified()
            | e.ThreadDeleted()
            | e.ThreadForked()
            | e.MessageImported()
            | e.RunImported()
            | e.StepImported()
            | e.MessageAdded()
            | e.MessageWritten()
            | e.MessageModified()
            | e.MessageDeleted()
            | e.RunCreated()
            | e.RunAdmitted()
            | e.RunModified()
            | e.RunReviewed()
        ):
            return run
        case _:
            assert_never(recorded.event)


def _initial_run(event: e.RunCreated, version: int) -> RunState:
    return RunState(
        id=event.run_id,
        position=version,
        assistant_id=event.assistant_id,
        status="queued",
        expires_at=event.expires_at or 0,
        max_prompt_tokens=event.max_prompt_tokens,
        max_completion_tokens=event.max_completion_tokens,
    )


def _with_status(run: RunState, status: RunStatus) -> RunState:
    return replace(run, status=transition(run.id, run.status, status))


def _kept_bytes(prompt: e.PromptRecord | None) -> int:
    return 0 if prompt is None else prompt.body_bytes


def _tool_step(event: e.StepCreated) -> OpenToolStep:
    functions = tuple(call["id"] for call in event.tool_calls if call["type"] == "function")
    hosted = tuple(HostedToolCall(call["id"], call["type"]) for call in event.tool_calls if call["type"] != "function")
    return OpenToolStep(event.step_id, functions, event.usage, hosted)


def _with_hosted_attempt(run: RunState, attempt: int | None) -> RunState:
    """Returns the run with its first hosted call at this attempt, or without that call if `attempt` is None."""
    assert run.step is not None, "a hosted call without a step"
    first, *others = run.step.hosted
    left = others if attempt is None else [replace(first, attempt=attempt), *others]
    return replace(run, step=replace(run.step, hosted=tuple(left)))


def _with_death(run: RunState) -> RunState:
    """Returns the run after the death of its process, which counts against the call that was open."""
    call, step = run.call, run.step
    if call is not None and call.broken is None:
        run = replace(run, call=replace(call, deaths=call.deaths + 1))
    if step is not None and step.open is not None:
        first, *others = step.hosted
        run = replace(run, step=replace(step, hosted=(replace(first, deaths=first.deaths + 1), *others)))
    return run


def _open_call(run: RunState, event: e.ModelCallStarted, at: int) -> OpenModelCall:
    """Returns the open call after an attempt has started.

    A further attempt with the same ids keeps the first start time, since clients may have received it.
    """
    last = run.call if run.call is not None and run.call.number == event.call else None
    same = last is not None and last.message_id == event.message_id
    return OpenModelCall(
        number=event.call,
        attempt=event.attempt,
        message_id=event.message_id,
        message_step_id=event.message_step_id,
        tool_step_id=event.tool_step_id,
        started_at=last.started_at if same and last is not None else at,
        failures=last.failures if last is not None else 0,
        deaths=last.deaths if last is not None else 0,
    )
