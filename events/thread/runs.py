"""The rules of runs for clients and supervisors: the thread's lock, tool outputs, cancelling, expiry, claims."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, assert_never

from events.errors import NotFound, Rejection
from events.objects import RunStatus
from events.thread import events as e
from events.thread.commands import (
    CancelRun,
    Claim,
    ClaimRun,
    ClientRunCommand,
    CreateRun,
    ExpireRun,
    ModifyRun,
    NewMessage,
    ReviewRun,
    RunSettings,
    SubmitToolOutputs,
    SupervisorCommand,
)
from events.thread.endings import end_early
from events.thread.model_calls import start_model_call
from events.thread.queue import cancel_waiting, require_room
from events.thread.state import RunState, ThreadState

# A run cannot be modified while a process works on it (docs/behaviour.md, "Errors").
_UNMODIFIABLE: frozenset[RunStatus] = frozenset({"in_progress", "cancelling"})
_CANCELLABLE: frozenset[RunStatus] = frozenset({"queued", "in_progress", "requires_action"})


def add_message(message: NewMessage) -> e.MessageAdded:
    """Returns the event that adds a client's message."""
    return e.MessageAdded(
        message_id=message.id,
        role=message.role,
        content=[dict(part) for part in message.content],
        attachments=[dict(attachment) for attachment in message.attachments],
        metadata=dict(message.metadata),
    )


def require_modifiable(status: RunStatus) -> None:
    """Raises Rejection if a run with this status cannot be modified."""
    if status in _UNMODIFIABLE:
        raise Rejection(f"Cannot update run with status '{status}'.")


def decide_client_run(state: ThreadState, command: ClientRunCommand, at: datetime) -> list[e.ThreadEvent]:
    match command:
        case CreateRun():
            return _create(state, command, at)
        case ModifyRun(run_id=run_id, metadata=metadata):
            status = _status(state, run_id, command.status)
            require_modifiable(status)
            return [e.RunModified(run_id=run_id, metadata=dict(metadata))]
        case ReviewRun(run_id=run_id, rating=rating, note=note):
            _status(state, run_id, command.status)
            return [e.RunReviewed(run_id=run_id, rating=rating, note=note)]
        case SubmitToolOutputs():
            return _submit(state, command, at)
        case CancelRun(run_id=run_id):
            status = _status(state, run_id, command.status)
            waits = next((one for one in state.waiting if one.run.id == run_id), None)
            if waits is not None:
                return cancel_waiting(waits, at)
            if status not in _CANCELLABLE or state.run is None:
                raise Rejection(f"Cannot cancel run with status '{status}'.")
            if state.run.process is not None:
                return [e.RunCancelling(run_id=run_id)]
            return end_early(state.run, "cancelled", at)
        case _:
            assert_never(command)


def decide_supervisor(state: ThreadState, command: SupervisorCommand, at: datetime) -> list[e.ThreadEvent]:
    run = state.run
    if run is None or run.id != command.run_id:
        return []
    match command:
        case ExpireRun():
            return end_early(run, "expired", at) if at.timestamp() >= run.expires_at else []
        case ClaimRun(process=process, dead=dead):
            if run.process != dead or run.status == "requires_action":
                return []
            return [e.RunClaimed(run_id=run.id, epoch=run.epoch + 1, process=process)]
        case _:
            assert_never(command)


def _create(state: ThreadState, command: CreateRun, at: datetime) -> list[e.ThreadEvent]:
    thread, settings = command.thread, command.settings
    if thread is None and not state.exists:
        raise NotFound("thread", state.id)
    if thread is not None and state.exists:
        raise Rejection(f"Thread {state.id} already exists.")
    if state.run is not None and not (command.queue or command.interrupt):
        raise Rejection(f"Thread {state.id} already has an active run {state.run.id}.")
    if not command.interrupt:
        require_room(state)
    messages = [*(thread.messages if thread else ()), *command.messages]
    has_user_message = state.user_messages or any(message.role == "user" for message in messages)
    if not has_user_message and not settings.instructions and not command.allows_empty_prompt:
        raise Rejection(
            "Run creation requires a Thread with a user message or an assistant with instructions.",
            code="invalid_thread",
        )
    events: list[e.ThreadEvent] = [add_message(message) for message in messages]
    if thread is not None:
        created = e.ThreadCreated(metadata=dict(thread.metadata), tool_resources=dict(thread.tool_resources))
        events.insert(0, created)
    if state.run is not None:
        events.append(_create_run(command.run_id, settings, None, command.lifetime))
        return [*events, *_interrupt(state, state.run, command, at)] if command.interrupt else events
    events.append(_create_run(command.run_id, settings, int(at.timestamp()) + command.lifetime, None))
    return [*events, *_claim_events(command.run_id, command.claim, epoch=1, calls=0)]


def _interrupt(state: ThreadState, active: RunState, command: CreateRun, at: datetime) -> list[e.ThreadEvent]:
    """Returns the events that cancel all runs of the thread before the new one, and let the new one begin if no process
    works on the active one.
    """
    events = [event for waits in state.waiting for event in cancel_waiting(waits, at)]
    if active.process is not None:
        return [*events, e.RunCancelling(run_id=active.id)] if active.status in _CANCELLABLE else events
    admitted = e.RunAdmitted(run_id=command.run_id, expires_at=int(at.timestamp()) + command.lifetime)
    events += [*end_early(active, "cancelled", at), admitted]
    if command.claim is not None:
        events.append(e.RunClaimed(run_id=command.run_id, epoch=1, process=command.claim.process))
    return events


def _create_run(run_id: str, settings: RunSettings, expires_at: int | None, lifetime: int | None) -> e.RunCreated:
    return e.RunCreated(
        run_id=run_id,
        assistant_id=settings.assistant_id,
        model=settings.model,
        instructions=settings.instructions,
        tools=[dict(tool) for tool in settings.tools],
        tool_resources=dict(settings.tool_resources),
        metadata=dict(settings.metadata),
        temperature=settings.temperature,
        top_p=settings.top_p,
        reasoning_effort=settings.reasoning_effort,
        response_format=_plain(settings.response_format),
        tool_choice=_plain(settings.tool_choice),
        parallel_tool_calls=settings.parallel_tool_calls,
        truncation_strategy=dict(settings.truncation_strategy),
        max_prompt_tokens=settings.max_prompt_tokens,
        max_completion_tokens=settings.max_completion_tokens,
        expires_at=expires_at,
        lifetime=lifetime,
        explicit_defaults=list(settings.explicit_defaults),
    )


def _plain(option: str | Mapping[str, Any]) -> str | dict[str, Any]:
    return option if isinstance(option, str) else dict(option)


def _claim_events(run_id: str, claim: Claim | None, *, epoch: int, calls: int) -> list[e.ThreadEvent]:
    """Returns the claim that goes with the event that creates or wakes a run, and its first model call."""
    if claim is None:
        return []
    events: list[e.ThreadEvent] = [e.RunClaimed(run_id=run_id, epoch=epoch, process=claim.process)]
    if claim.first_call is not None:
        call = start_model_call(run_id, number=calls + 1, attempt=1, ids=claim.first_call)
        events += [e.RunStarted(run_id=run_id), call]
    return events


def _submit(state: ThreadState, command: SubmitToolOutputs, at: datetime) -> list[e.ThreadEvent]:
    status = _status(state, command.run_id, command.status)
    run = state.run
    if status != "requires_action" or run is None or run.step is None:
        raise Rejection(f'Runs in status "{status}" do not accept tool outputs.')
    _check_outputs(run.step.call_ids, command.outputs)
    step = e.StepEnded(
        run_id=run.id,
        step_id=run.step.step_id,
        status="completed",
        ended_at=int(at.timestamp()),
        last_error=None,
        usage=run.step.usage,
    )
    return [
        e.ToolOutputsSubmitted(run_id=run.id, step_id=run.step.step_id, outputs=list(command.outputs)),
        step,
        e.RunQueued(run_id=run.id),
        *_claim_events(run.id, _within_budget(run, command.claim), epoch=run.epoch + 1, calls=run.calls),
    ]


def _within_budget(run: RunState, claim: Claim | None) -> Claim | None:
    """Returns the claim without its first call if the run has a token budget.

    The budget may be used up; `plan` decides that later.
    """
    budgeted = run.max_prompt_tokens is not None or run.max_completion_tokens is not None
    return Claim(claim.process, None) if claim is not None and budgeted else claim


def _check_outputs(expected: Sequence[str], outputs: Sequence[e.ToolOutput]) -> None:
    """Raises Rejection unless each call has exactly one output, in any order."""
    call_ids = [output.tool_call_id for output in outputs]
    if sorted(call_ids) != sorted(expected):
        raise Rejection(f"Expected tool outputs for call_ids {list(expected)}, got {call_ids}")


def _status(state: ThreadState, run_id: str, past: RunStatus | None) -> RunStatus:
    """Returns the run's status: from the state if the run is active or waits, else `past`, the fact of the view.

    Raises NotFound if the thread or the run does not exist.
    """
    if not state.exists:
        raise NotFound("thread", state.id)
    waiting = (one.run for one in state.waiting)
    for run in (state.run, *waiting):
        if run is not None and run.id == run_id:
            return run.status
    if past is None:
        raise NotFound("run", run_id)
    return past
