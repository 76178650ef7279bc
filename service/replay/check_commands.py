"""Finds the commands that may have led to the events of an append of a thread. Pure.

The log holds events and no commands. Each event keeps the facts of its command, so a command can be made from the
events that it led to, the state before them and their time. These facts of a command are in no event:

- the order in which `CreateRun` got its messages, as a part of `thread` or beside it: it leads to the same events;
- `allows_empty_prompt`: it is assumed, since only requests of v1 that were accepted have events;
- the claim that a request offered and that was not used, and the first call of a claim on a run with a token budget;
- the reply of a model call if it was empty, and which of several commands of an executor ended a run that was being
  cancelled: they lead to the same events.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar, assert_never

from events.envelope import RecordedEvent
from events.object_changes import message_of, run_of, step_of
from events.objects import Message, Run, RunStatus, Step
from events.thread import events as e
from events.thread.commands import (
    AddMessage,
    BreakModelCall,
    CallIds,
    CancelRun,
    Claim,
    ClaimRun,
    CreateRun,
    CreateThread,
    DeleteMessage,
    DeleteThread,
    ExhaustRun,
    ExpireRun,
    FailRun,
    FinishModelCall,
    FinishToolCall,
    ForkThread,
    ImportThread,
    ModifyMessage,
    ModifyRun,
    ModifyThread,
    NewMessage,
    PartialReply,
    ReleaseRun,
    ReviewRun,
    RunSettings,
    StartModelCall,
    StartToolCall,
    StopRun,
    SubmitToolOutputs,
    ThreadCommand,
)
from events.thread.state import ThreadState

# Events that are never the first of an append: the command that led to them has another event before them.
_NeverFirst = (
    e.ImportEvent
    | e.RunAdmitted
    | e.RunQueued
    | e.RunRequiresAction
    | e.StepCreated
    | e.MessageWritten
    | e.RunCompleted
)
_EndingFirst = (
    e.ModelCallStopped | e.ToolCallStopped | e.StepEnded | e.RunCancelled | e.RunFailed | e.RunExpired | e.RunIncomplete
)
_END_STATUS: Mapping[type[e.RunEnd], RunStatus] = {
    e.RunCancelled: "cancelled",
    e.RunCompleted: "completed",
    e.RunIncomplete: "incomplete",
    e.RunFailed: "failed",
    e.RunExpired: "expired",
}
E = TypeVar("E", bound=e.ThreadEvent)


class ThreadInversion:
    """Finds the commands of a thread.

    It keeps the facts that callers read from views: the statuses of runs that have ended, by id, and the functions of
    the newest step of tool calls.
    """

    def __init__(self) -> None:
        self._statuses: dict[str, RunStatus] = {}
        self._functions: list[dict[str, Any]] = []

    def add(self, recorded: RecordedEvent[e.ThreadEvent]) -> None:
        """Applies an event to the facts."""
        event = recorded.event
        if isinstance(event, e.RunEnd):
            self._statuses[event.run_id] = _END_STATUS[type(event)]
        elif isinstance(event, e.RunImported):
            self._statuses[event.run_id] = event.body["status"]
        elif isinstance(event, e.StepCreated) and event.kind == "tool_calls":
            self._functions = [call for call in event.tool_calls if call["type"] == "function"]

    def commands(self, state: ThreadState, events: Sequence[e.ThreadEvent], at: datetime) -> list[ThreadCommand]:
        """Returns the commands that may have led to the events: see `Inversion`."""
        first = events[0]
        match first:
            case e.ThreadCreated() | e.MessageAdded() | e.RunCreated():
                return _creations(state, events, at)
            case e.ThreadModified(changes=changes):
                return [ModifyThread(changes)]
            case e.ThreadForked(fork_id=fork_id, version=version):
                return [ForkThread(fork_id, version)]
            case e.ThreadDeleted():
                return [DeleteThread()]
            case e.MessageModified(message_id=message_id, metadata=metadata):
                return [ModifyMessage(message_id, True, metadata)]
            case e.MessageDeleted(message_id=message_id, role=role):
                return [DeleteMessage(message_id, role)]
            case e.RunModified(run_id=run_id, metadata=metadata):
                return [ModifyRun(run_id, self._statuses.get(run_id), metadata)]
            case e.RunReviewed(run_id=run_id, rating=rating, note=note):
                return [ReviewRun(run_id, self._statuses.get(run_id), rating, note)]
            case e.ToolOutputsSubmitted(run_id=run_id, outputs=outputs):
                return [SubmitToolOutputs(run_id, self._statuses.get(run_id), outputs, _claim(events))]
            case e.RunCancelling(run_id=run_id):
                if isinstance(events[-1], e.ThreadDeleted):
                    return [DeleteThread()]
                return [CancelRun(run_id, self._statuses.get(run_id), _claim(events))]
            case e.RunClaimed(run_id=run_id, process=process):
                return [ClaimRun(run_id, process, state.run.process if state.run is not None else None)]
            case e.RunReleased(run_id=run_id, epoch=epoch):
                return [ReleaseRun(run_id, epoch)]
            case (
                e.RunStarted()
                | e.ModelCallStarted()
                | e.ModelCallFinished()
                | e.ModelCallFailed()
                | e.ToolCallStarted()
                | e.ToolCallFinished()
            ):
                return _reports(first, state, self._functions, events)
            case (
                e.ModelCallStopped()
                | e.ToolCallStopped()
                | e.StepEnded()
                | e.RunCancelled()
                | e.RunFailed()
                | e.RunExpired()
                | e.RunIncomplete()
            ):
                return _endings(first, state, events)
            case _:
                _ignored: _NeverFirst = first
                return []


def _imported_object(event: e.ThreadEvent) -> Message | Run | Step | None:
    """Returns the object that an event imports, in no thread, or None."""
    if isinstance(event, e.MessageImported):
        return message_of("", event)
    if isinstance(event, e.RunImported):
        return run_of("", event)
    return step_of("", event) if isinstance(event, e.StepImported) else None


def _creations(state: ThreadState, events: Sequence[e.ThreadEvent], at: datetime) -> list[ThreadCommand]:
    messages = [_new_message(event) for event in events if isinstance(event, e.MessageAdded)]
    created, thread = _find(events, e.RunCreated), _find(events, e.ThreadCreated)
    objects = [found for event in events if (found := _imported_object(event)) is not None]
    if thread is not None and (objects or thread.origin is not None or thread.provenance is not None):
        return [
            ImportThread(
                metadata=thread.metadata,
                tool_resources=thread.tool_resources,
                origin=thread.origin,
                objects=objects,
                provenance=thread.provenance,
            )
        ]
    life = None if thread is None else CreateThread(thread.metadata, thread.tool_resources, messages)
    if created is None:
        return [life] if life is not None else [AddMessage(messages[0], queue=state.run is not None)]
    expires_at, lifetime = created.expires_at, created.lifetime
    return [
        CreateRun(
            run_id=created.run_id,
            settings=_settings(created),
            messages=[] if life is not None else messages,
            lifetime=lifetime if lifetime is not None else (expires_at or 0) - int(at.timestamp()),
            claim=_claim(events),
            thread=life,
            queue=lifetime is not None,
            interrupt=any(isinstance(event, e.RunCancelling | e.RunCancelled) for event in events),
            allows_empty_prompt=True,
        )
    ]


def _reports(
    first: e.RunStarted
    | e.ModelCallStarted
    | e.ModelCallFinished
    | e.ModelCallFailed
    | e.ToolCallStarted
    | e.ToolCallFinished,
    state: ThreadState,
    functions: Sequence[Mapping[str, Any]],
    events: Sequence[e.ThreadEvent],
) -> list[ThreadCommand]:
    """Returns the reports of an executor about its calls."""
    run_id, epoch = first.run_id, _epoch(state)
    match first:
        case e.RunStarted():
            incomplete = _find(events, e.RunIncomplete)
            if incomplete is not None:
                return [ExhaustRun(run_id, epoch, incomplete.reason)]
            started = _find(events, e.ModelCallStarted)
            return [] if started is None else [StartModelCall(run_id, epoch, _call_ids(started))]
        case e.ModelCallStarted():
            return [StartModelCall(run_id, epoch, _call_ids(first))]
        case e.ModelCallFinished() as finished:
            return [
                FinishModelCall(
                    run_id=run_id,
                    epoch=epoch,
                    reply=_reply(events),
                    finish_reason=finished.finish_reason,
                    model=finished.model,
                    usage=finished.usage,
                    prompt=finished.prompt,
                )
            ]
        case e.ModelCallFailed(error=error, usage=usage, prompt=prompt):
            reply = _reply(events)
            return [
                BreakModelCall(run_id=run_id, epoch=epoch, reply=reply, error=error, usage=usage, prompt=prompt),
            ]
        case e.ToolCallStarted():
            return [StartToolCall(run_id, epoch)]
        case e.ToolCallFinished() as ended:
            return [
                FinishToolCall(
                    run_id=run_id,
                    epoch=epoch,
                    call_id=ended.call_id,
                    attempt=ended.attempt,
                    outcome=ended.outcome,
                    shown=ended.shown,
                    output=ended.output,
                    files=ended.files,
                    citations=ended.citations,
                    functions=functions,
                )
            ]
        case _:
            assert_never(first)


def _endings(first: _EndingFirst, state: ThreadState, events: Sequence[e.ThreadEvent]) -> list[ThreadCommand]:
    """Returns the commands that end a run early. An executor and a supervisor may both have expired it."""
    if isinstance(events[-1], e.ThreadDeleted):
        return [DeleteThread()]
    run_id, epoch = first.run_id, _epoch(state)
    stopped, tool = _find(events, e.ModelCallStopped), _find(events, e.ToolCallStopped)
    usage, shown = (stopped.usage if stopped else e.Usage()), (tool.shown if tool else None)
    stop = StopRun(
        run_id=run_id,
        epoch=epoch,
        reply=_reply(events),
        usage=usage,
        shown=shown,
        prompt=stopped.prompt if stopped else None,
    )
    for event in events:
        if isinstance(event, e.RunIncomplete):
            return [ExhaustRun(run_id, epoch, event.reason)]
        if isinstance(event, e.RunFailed):
            return [FailRun(run_id, epoch, event.error, shown)]
        if isinstance(event, e.RunExpired):
            return [stop, ExpireRun(run_id, _claim(events))]
        if isinstance(event, e.RunCancelled):
            return [stop]
    return []


def _claim(events: Sequence[e.ThreadEvent]) -> Claim | None:
    """Returns the claim that was used: with the first call if that started in the same append."""
    claimed, started = _find(events, e.RunClaimed), _find(events, e.ModelCallStarted)
    if claimed is None:
        return None
    return Claim(claimed.process, None if started is None else _call_ids(started))


def _call_ids(started: e.ModelCallStarted) -> CallIds:
    return CallIds(started.message_id, started.message_step_id, started.tool_step_id)


def _epoch(state: ThreadState) -> int:
    return 0 if state.run is None else state.run.epoch


def _find(events: Sequence[e.ThreadEvent], kind: type[E]) -> E | None:
    return next((event for event in events if isinstance(event, kind)), None)


def _new_message(event: e.MessageAdded) -> NewMessage:
    return NewMessage(
        id=event.message_id,
        role=event.role,
        content=event.content,
        attachments=event.attachments,
        metadata=event.metadata,
    )


def _settings(event: e.RunCreated) -> RunSettings:
    return RunSettings(
        assistant_id=event.assistant_id,
        model=event.model,
        instructions=event.instructions,
        tools=event.tools,
        tool_resources=event.tool_resources,
        metadata=event.metadata,
        temperature=event.temperature,
        top_p=event.top_p,
        reasoning_effort=event.reasoning_effort,
        response_format=event.response_format,
        tool_choice=event.tool_choice,
        parallel_tool_calls=event.parallel_tool_calls,
        truncation_strategy=event.truncation_strategy,
        max_prompt_tokens=event.max_prompt_tokens,
        max_completion_tokens=event.max_completion_tokens,
        explicit_defaults=event.explicit_defaults,
    )


def _reply(events: Sequence[e.ThreadEvent]) -> PartialReply:
    """Returns the reply whose message and steps are among the events."""
    written = _find(events, e.MessageWritten)
    calls = [
        _reply_call(call)
        for event in events
        if isinstance(event, e.StepCreated) and event.kind == "tool_calls"
        for call in event.tool_calls
    ]
    if written is None:
        return PartialReply(tool_calls=calls)
    text, refusal = "", ""
    annotations: list[Mapping[str, Any]] = []
    images: list[str] = []
    for part in written.content:
        match part["type"]:
            case "text":
                text, annotations = part["text"]["value"], part["text"]["annotations"]
            case "refusal":
                refusal = part["refusal"]
            case "image_file":
                images.append(part["image_file"]["file_id"])
            case _:
                continue
    return PartialReply(
        text=text,
        refusal=refusal,
        tool_calls=calls,
        annotations=annotations,
        images=images,
        attachments=written.attachments,
    )


def _reply_call(call: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: call[name] for name in ("upstream_id", "file_search") if name in call}
    return {"id": call["id"], "type": call["type"], **call["function"], **kept}
