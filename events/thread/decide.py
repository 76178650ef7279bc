"""Decides the commands of a thread.

`decide` dispatches. The rules of runs are in `runs` (commands of clients and supervisors), `model_calls` and
`tool_calls` (reports of executors), `queue` (waiting runs), `endings` (the ends of replies and runs) and `imports`
(objects from elsewhere).
"""

from __future__ import annotations

from datetime import datetime
from typing import assert_never

from events.errors import NotFound, Rejection
from events.thread import events as e
from events.thread.commands import (
    AddMessage,
    CancelRun,
    ClaimRun,
    CreateRun,
    CreateThread,
    DeleteMessage,
    DeleteThread,
    ExpireRun,
    ForkThread,
    ImportThread,
    LifeCommand,
    MessageCommand,
    ModifyMessage,
    ModifyRun,
    ModifyThread,
    ReviewRun,
    SubmitToolOutputs,
    ThreadCommand,
)
from events.thread.endings import end_early
from events.thread.imports import import_thread
from events.thread.model_calls import decide_executor
from events.thread.queue import admit_next_run, cancel_waiting
from events.thread.runs import add_message, decide_client_run, decide_supervisor
from events.thread.state import ThreadState


def decide(state: ThreadState, command: ThreadCommand, at: datetime) -> list[e.ThreadEvent]:
    """Returns the events that `command` leads to at time `at`, or none if nothing has to happen.

    Raises NotFound, Rejection (with the API's messages), or StaleClaim if an executor has lost its run.
    """
    events = _decide(state, command, at)
    return [*events, *admit_next_run(state, events, command, at)]


def _decide(state: ThreadState, command: ThreadCommand, at: datetime) -> list[e.ThreadEvent]:
    match command:
        case CreateThread() | ImportThread() | ForkThread() | ModifyThread() | DeleteThread():
            return _decide_life(state, command, at)
        case AddMessage() | ModifyMessage() | DeleteMessage():
            return _decide_message(state, command)
        case CreateRun() | ModifyRun() | ReviewRun() | SubmitToolOutputs() | CancelRun():
            return decide_client_run(state, command, at)
        case ExpireRun() | ClaimRun():
            return decide_supervisor(state, command, at)
        case _:
            return decide_executor(state, command, at)


def _decide_life(state: ThreadState, command: LifeCommand, at: datetime) -> list[e.ThreadEvent]:
    match command:
        case CreateThread(metadata=metadata, tool_resources=tool_resources, messages=messages):
            if state.exists:
                raise Rejection(f"Thread {state.id} already exists.")
            return [
                e.ThreadCreated(metadata=dict(metadata), tool_resources=dict(tool_resources)),
                *(add_message(message) for message in messages),
            ]
        case ImportThread():
            return import_thread(state, command)
        case ForkThread(fork_id=fork_id, version=version):
            _require(state)
            return [e.ThreadForked(fork_id=fork_id, version=version)]
        case ModifyThread(changes=changes):
            _require(state)
            return [e.ThreadModified(changes=dict(changes))]
        case DeleteThread():
            _require(state)
            active = end_early(state.run, "cancelled", at) if state.run else []
            waiting = [event for run in state.waiting for event in cancel_waiting(run, at)]
            return [*active, *waiting, e.ThreadDeleted()]
        case _:
            assert_never(command)


def _decide_message(state: ThreadState, command: MessageCommand) -> list[e.ThreadEvent]:
    _require(state)
    match command:
        case AddMessage(message=message, queue=queue):
            if state.run is not None and not queue:
                raise Rejection(f"Can't add messages to {state.id} while a run {state.run.id} is active.")
            return [add_message(message)]
        case ModifyMessage(message_id=message_id, exists=exists, metadata=metadata):
            if not exists:
                raise NotFound("message", message_id)
            return [e.MessageModified(message_id=message_id, metadata=dict(metadata))]
        case DeleteMessage(message_id=message_id, role=role):
            if role is None:
                raise NotFound("message", message_id)
            return [e.MessageDeleted(message_id=message_id, role=role)]
        case _:
            assert_never(command)


def _require(state: ThreadState) -> None:
    if not state.exists:
        raise NotFound("thread", state.id)
