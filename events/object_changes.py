"""How events change the API's objects. Projections store what these functions return, and streams send it.

An event either creates an object (`initial_*`, `client_message`, `run_message`) or replaces fields of one (`*_patch`:
the keys are names of the object's fields). Views and streams both call these functions, so they cannot differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from events import assistant as a
from events import file as f
from events import upload as u
from events.envelope import Event, RecordedEvent, classes_of
from events.objects import Assistant, File, Json, Message, Run, Step, Thread, Upload, UploadPart, VectorStore
from events.provenance import creation_time
from events.references import own_store_id, stores_of, with_stores
from events.thread import events as e
from events.vector_store import events as v

Patch = dict[str, Any]

# Files that a thread lists for code_interpreter: those attached last.
MAX_THREAD_FILES = 1000

# Events that replace no field of a run, and of a step.
_NoRunPatch = (
    e.LifeEvent
    | e.ImportEvent
    | e.MessageEvent
    | e.StepEvent
    | e.ModelCallEvent
    | e.ToolCallEvent
    | e.RunCreated
    | e.RunReviewed
    | e.RunClaimed
    | e.RunReleased
)
_NO_RUN_PATCH = classes_of(_NoRunPatch)
_NoStepPatch = (
    e.LifeEvent | e.ImportEvent | e.MessageEvent | e.RunEvent | e.ModelCallEvent | e.StepCreated | e.ToolCallStarted
)


def initial_assistant(recorded: RecordedEvent[a.AssistantCreated]) -> Assistant:
    return Assistant(id=recorded.stream_id, created_at=_created_at(recorded), **recorded.event.settings)


def modified_assistant(before: Mapping[str, Any], changes: Mapping[str, Any]) -> Patch:
    """Returns the fields of an assistant after changes, those of an event or a part of them.

    A setting that changes was set to its default value only if the changes say so.
    """
    kept = [name for name in before.get("explicit_defaults", ()) if name not in changes]
    explicit = [*kept, *changes.get("explicit_defaults", ())]
    after = {name: value for name, value in {**before, **changes}.items() if name != "explicit_defaults"}
    return after | ({"explicit_defaults": explicit} if explicit else {})


def initial_file(recorded: RecordedEvent[f.FileCreated]) -> File:
    """Returns the file without the hashes of its segments, which only the event has."""
    fields = _event_fields(recorded.event)
    del fields["segments"], fields["provenance"]
    return File(id=recorded.stream_id, created_at=_created_at(recorded), **fields)


def initial_upload(recorded: RecordedEvent[u.UploadCreated]) -> Upload:
    return Upload(id=recorded.stream_id, created_at=recorded.seconds, **_event_fields(recorded.event))


def initial_upload_part(recorded: RecordedEvent[u.UploadPartAdded]) -> UploadPart:
    event = recorded.event
    return UploadPart(
        id=event.part_id,
        upload_id=recorded.stream_id,
        created_at=recorded.seconds,
        bytes=event.bytes,
        sha256=event.sha256,
    )


def initial_vector_store(recorded: RecordedEvent[v.VectorStoreCreated]) -> VectorStore:
    at = recorded.seconds
    fields = _event_fields(recorded.event)
    del fields["provenance"]
    return VectorStore(id=recorded.stream_id, created_at=_created_at(recorded), last_active_at=at, **fields)


def initial_thread(recorded: RecordedEvent[e.ThreadCreated]) -> Thread:
    event = recorded.event
    return Thread(recorded.stream_id, _created_at(recorded), event.metadata, event.tool_resources)


def new_thread(recorded: Sequence[RecordedEvent[e.ThreadEvent]]) -> Thread:
    """Returns the thread that the events create, with the files that are attached to their messages."""
    thread = initial_thread(recorded[0])  # type: ignore[arg-type]
    added = [entry.event for entry in recorded if isinstance(entry.event, e.MessageAdded)]
    attachments = [attachment for message in added for attachment in message.attachments]
    resources = attach_files(
        thread.tool_resources,
        thread.id,
        for_code=attached_files(attachments, "code_interpreter"),
        has_own_store=bool(attached_files(attachments, "file_search")),
    )
    return replace(thread, tool_resources=resources)


def client_message(recorded: RecordedEvent[e.MessageAdded]) -> Message:
    """Returns the message that a client wrote."""
    event = recorded.event
    return Message(
        id=event.message_id,
        thread_id=recorded.stream_id,
        created_at=recorded.seconds,
        role=event.role,
        content=event.content,
        attachments=event.attachments,
        metadata=event.metadata,
        ended_at=recorded.seconds,
    )


def imported_message(recorded: RecordedEvent[e.MessageImported]) -> Message:
    """Returns the message that was imported."""
    return message_of(recorded.stream_id, recorded.event)


def imported_run(recorded: RecordedEvent[e.RunImported]) -> Run:
    """Returns the run that was imported."""
    return run_of(recorded.stream_id, recorded.event)


def imported_step(recorded: RecordedEvent[e.StepImported]) -> Step:
    """Returns the step that was imported."""
    return step_of(recorded.stream_id, recorded.event)


def message_of(thread_id: str, event: e.MessageImported) -> Message:
    """Returns the message that an event imports into a thread."""
    return Message(id=event.message_id, thread_id=thread_id, role=event.role, run_id=event.run_id, **event.body)


def run_of(thread_id: str, event: e.RunImported) -> Run:
    """Returns the run that an event imports into a thread."""
    return Run(id=event.run_id, thread_id=thread_id, **event.body)


def step_of(thread_id: str, event: e.StepImported) -> Step:
    """Returns the step that an event imports into a thread."""
    return Step(id=event.step_id, thread_id=thread_id, run_id=event.run_id, type=event.kind, **event.body)


def attach_files(
    tool_resources: Mapping[str, Any], thread_id: str, *, for_code: Sequence[str], has_own_store: bool
) -> Json:
    """Returns the thread's tool_resources with the files that are attached to its messages.

    Files for code_interpreter are listed there. Files for file_search are in the thread's own vector store, where the
    request that added the message has put them: a thread without a vector store now refers to its own.
    """
    resources = dict(tool_resources)
    if for_code:
        before = tool_resources.get("code_interpreter", {}).get("file_ids", [])
        file_ids = list(dict.fromkeys([*before, *for_code]))[-MAX_THREAD_FILES:]
        resources["code_interpreter"] = {"file_ids": file_ids}
    if has_own_store and not stores_of(tool_resources):
        resources = with_stores(resources, [own_store_id(thread_id)])
    return resources


def attached_files(attachments: Sequence[Json], tool: str) -> list[str]:
    """Returns the ids of the files that are attached for a tool."""
    return [
        attachment["file_id"]
        for attachment in attachments
        if any(each["type"] == tool for each in attachment.get("tools", ()))
    ]


def run_message(recorded: RecordedEvent[e.MessageWritten]) -> Message:
    """Returns the message that a run wrote."""
    event = recorded.event
    return Message(
        id=event.message_id,
        thread_id=recorded.stream_id,
        created_at=event.created_at,
        role="assistant",
        content=event.content,
        attachments=event.attachments,
        metadata={},
        assistant_id=event.assistant_id,
        run_id=event.run_id,
        status=event.status,
        incomplete_reason=event.incomplete_reason,
        ended_at=recorded.seconds,
    )


def initial_run(recorded: RecordedEvent[e.RunCreated]) -> Run:
    settings = _event_fields(recorded.event)
    settings.pop("lifetime")
    return Run(id=settings.pop("run_id"), thread_id=recorded.stream_id, created_at=recorded.seconds, **settings)


def initial_step(recorded: RecordedEvent[e.StepCreated]) -> Step:
    event = recorded.event
    return Step(
        id=event.step_id,
        thread_id=recorded.stream_id,
        run_id=event.run_id,
        assistant_id=event.assistant_id,
        created_at=event.created_at,
        expires_at=event.expires_at,
        type=event.kind,
        message_id=event.message_id,
        tool_calls=event.tool_calls,
    )


def run_patch(recorded: RecordedEvent[e.ThreadEvent]) -> Patch | None:
    """Returns the fields of its run that an event replaces, or None if it changes no field of a run."""
    event = recorded.event
    if type(event) in _NO_RUN_PATCH:
        return None
    at = recorded.seconds
    match event:
        case e.RunStarted():
            return {"status": "in_progress", "started_at": at}
        case e.RunQueued():
            return {"status": "queued", "required_calls": None}
        case e.RunRequiresAction(tool_calls=calls):
            return {"status": "requires_action", "required_calls": calls}
        case e.RunCancelling():
            return {"status": "cancelling", "required_calls": None}
        case e.RunCancelled(usage=usage):
            return _end_patch("cancelled", usage) | {"cancelled_at": at}
        case e.RunCompleted(usage=usage):
            return _end_patch("completed", usage) | {"completed_at": at}
        case e.RunIncomplete(reason=reason, usage=usage):
            return _end_patch("incomplete", usage) | {"completed_at": at, "incomplete_reason": reason}
        case e.RunFailed(error=error, usage=usage):
            return _end_patch("failed", usage) | {"failed_at": at, "last_error": error.model_dump()}
        case e.RunExpired(usage=usage, error=cause):
            return _end_patch("expired", usage) | ({"last_error": cause.model_dump()} if cause is not None else {})
        case e.RunModified(metadata=metadata):
            return {"metadata": metadata}
        case e.RunAdmitted(expires_at=expires_at):
            return {"expires_at": expires_at}
        case _:
            _ignored: _NoRunPatch = event
            return None


def step_patch(event: e.ThreadEvent) -> Patch | None:
    """Returns the fields of its step that an event replaces, or None if it changes no step.

    `results` are merged into those of the step (`merge_step_fields`); every other field is replaced as a whole.
    """
    match event:
        case e.ToolOutputsSubmitted(outputs=outputs):
            return {"outputs": {output.tool_call_id: output.output for output in outputs}}
        case e.ToolCallFinished() as finished:
            result = finished.model_dump(include={"shown", "output", "files", "citations"})
            if finished.outcome == "refused":
                result["outcome"] = finished.outcome
            return {"results": {finished.call_id: result}}
        case e.ToolCallStopped(call_id=call_id, shown=shown):
            return {"results": {call_id: {"shown": shown}}}
        case e.StepEnded() as ended:
            return {
                "status": ended.status,
                "ended_at": ended.ended_at,
                "last_error": ended.last_error.model_dump() if ended.last_error else None,
                "usage": ended.usage.model_dump(),
            }
        case _:
            _ignored: _NoStepPatch = event
            return None


def merge_step_fields(fields: Patch, patch: Patch) -> Patch:
    """Returns the fields of a step, or those of an earlier patch, with a later patch applied."""
    both = {**fields, **patch}
    if "results" in fields and "results" in patch:
        both["results"] = {**fields["results"], **patch["results"]}
    return both


def _created_at(recorded: RecordedEvent[Any]) -> int:
    return int(creation_time(recorded).timestamp())


def _event_fields(event: Event) -> Patch:
    """Returns the fields of an event except its type."""
    return {name: getattr(event, name) for name in type(event).model_fields if name != "type"}


def _end_patch(status: str, usage: e.Usage) -> Patch:
    return {"status": status, "expires_at": None, "required_calls": None, "usage": usage.model_dump()}
