"""Samples of every object that the API returns, in each form that differs. The document's schemas are inferred from
them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, get_args, get_type_hints

from events.objects import (
    Assistant,
    File,
    Json,
    Message,
    Run,
    RunStatus,
    Step,
    Thread,
    Upload,
    UploadPart,
)
from events.thread.events import ThreadEvent
from service.http.errors import body
from service.http.openapi.infer import Free, Schema, schema_of
from service.http.openapi.organization_samples import organization_samples
from service.http.openapi.review_samples import review_samples
from service.http.openapi.store_samples import store_samples
from service.http.openapi.version_samples import version_samples
from service.http.openapi.webhook_samples import endpoint_samples
from service.wire import access, v1, v2
from service.wire.api import DeletedObject, Wire
from service.wire.bulk import render_bulk_cancellation, render_bulk_deletion
from service.wire.files import ATTACHED_FILES
from service.wire.replay import render_replay_page
from service.wire.transcript import sample_transcript

_QUOTING = {v2.WIRE: v2.QUOTING_WIRE}
_AT = 1
_FILES: Json = {"code_interpreter": {"file_ids": ["file-1"]}}
_FUNCTION: Json = {"name": "f", "description": "d", "parameters": Free(), "strict": False}
_SEARCH: Json = {
    "max_num_results": 20,
    "ranking_options": {"ranker": "auto", "score_threshold": 0.5, "hybrid_search": None},
}
_TOOLS: list[Json] = [
    {"type": "function", "function": _FUNCTION},
    {"type": "function", "function": {"name": "f"}},
    {"type": "code_interpreter"},
    {"type": "file_search", "file_search": _SEARCH},
    {"type": "file_search"},
]
_CALLS: list[Json] = [{"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
_USAGE = {"prompt_tokens": 1, "completion_tokens": 1, "cached_tokens": 0, "reasoning_tokens": 0}
_ERROR: Json = {"code": "server_error", "message": "m"}
_MARK: Json = {"text": "t", "start_index": 0, "end_index": 1}
_MARKS: list[Json] = [
    {"type": "file_citation", **_MARK, "file_citation": {"file_id": "file-1"}},
    {"type": "file_citation", **_MARK, "file_citation": {"file_id": "file-1", "quote": "q"}},
    {"type": "file_path", **_MARK, "file_path": {"file_id": "file-1"}},
]
_PARTS: list[Json] = [
    {"type": "text", "text": {"value": "v", "annotations": _MARKS}},
    {"type": "text", "text": {"value": "v", "annotations": []}},
    {"type": "refusal", "refusal": "r"},
    {"type": "image_url", "image_url": {"url": "u", "detail": "auto"}},
    {"type": "image_file", "image_file": {"file_id": "file-1", "detail": "auto"}},
]
_FORMATS: tuple[str | Json, ...] = ("auto", {"type": "text"}, {"type": "json_schema", "json_schema": Free()})
_CHOICES: tuple[str | Json, ...] = ("auto", {"type": "function", "function": {"name": "f"}}, {"type": "file_search"})

_ASSISTANT = Assistant(
    id="asst_1",
    created_at=_AT,
    model="gpt-4o",
    name="n",
    description="d",
    instructions="i",
    tools=_TOOLS,
    tool_resources=_FILES,
    metadata=Free(key="value"),
    temperature=1.0,
    top_p=1.0,
    response_format="auto",
    reasoning_effort="low",
)
_THREAD = Thread("thread_1", _AT, Free(key="value"), _FILES)
_MESSAGE = Message(
    id="msg_1",
    thread_id="thread_1",
    created_at=_AT,
    role="user",
    content=_PARTS,
    attachments=[{"file_id": "file-1", "tools": [{"type": "file_search"}, {"type": "code_interpreter"}]}],
    metadata=Free(k="v"),
)
_RUN = Run(
    id="run_1",
    thread_id="thread_1",
    created_at=_AT,
    assistant_id="asst_1",
    model="gpt-4o",
    instructions="i",
    tools=_TOOLS,
    tool_resources=_FILES,
    metadata=Free(key="value"),
    temperature=1.0,
    top_p=1.0,
    reasoning_effort="low",
    response_format="auto",
    tool_choice="auto",
    parallel_tool_calls=True,
    truncation_strategy={"type": "last_messages", "last_messages": 1},
    max_prompt_tokens=256,
    max_completion_tokens=256,
    expires_at=_AT,
    started_at=_AT,
    completed_at=_AT,
    cancelled_at=_AT,
    failed_at=_AT,
    incomplete_reason="max_completion_tokens",
    required_calls=_CALLS,
    last_error=_ERROR,
    usage=_USAGE,
)
_STEP = Step(
    id="step_1",
    thread_id="thread_1",
    run_id="run_1",
    assistant_id="asst_1",
    created_at=_AT,
    expires_at=_AT,
    type="message_creation",
    message_id="msg_1",
    tool_calls=[],
    ended_at=_AT,
    last_error=_ERROR,
    usage=_USAGE,
)
_FILE = File(
    id="file-1",
    created_at=_AT,
    filename="a.txt",
    purpose="assistants",
    bytes=1,
    sha256="sha",
    content_type="text/plain",
    expires_at=_AT,
    blob="blob",
)
_UPLOAD = Upload(
    id="upload_1",
    created_at=_AT,
    filename="a.txt",
    purpose="assistants",
    bytes=1,
    content_type="text/plain",
    expires_after=None,
    expires_at=_AT,
)


def _assistants() -> Iterator[Assistant]:
    for form in _FORMATS:
        yield replace(_ASSISTANT, response_format=form)
    yield replace(
        _ASSISTANT, name=None, description=None, instructions=None, temperature=None, top_p=None, reasoning_effort=None
    )
    yield replace(_ASSISTANT, tool_resources={}, tools=[])


def _messages() -> Iterator[Message]:
    yield _MESSAGE
    for status in get_args(get_type_hints(Message)["status"]):
        yield replace(_MESSAGE, status=status, ended_at=_AT, incomplete_reason="max_tokens")
    yield replace(_MESSAGE, role="assistant", assistant_id="asst_1", run_id="run_1", content=[], attachments=[])


def _runs() -> Iterator[Run]:
    for status in get_args(RunStatus):
        yield replace(_RUN, status=status)
    for form in _FORMATS:
        yield replace(_RUN, response_format=form)
    for choice in _CHOICES:
        yield replace(_RUN, tool_choice=choice)
    optional = {name for name, hint in get_type_hints(Run).items() if type(None) in get_args(hint)}
    nothing: dict[str, Any] = dict.fromkeys(optional)
    yield replace(_RUN, **nothing)
    yield replace(_RUN, tools=[], tool_resources={})
    yield replace(_RUN, truncation_strategy={"type": "auto", "last_messages": None})


def _steps() -> Iterator[Step]:
    for status in get_args(get_type_hints(Step)["status"]):
        yield replace(_STEP, status=status)
    tools = replace(_STEP, type="tool_calls", message_id=None, ended_at=None, last_error=None, usage=None)
    yield replace(tools, tool_calls=_CALLS)
    yield replace(tools, tool_calls=_CALLS, outputs={"call_1": "o"})
    yield replace(tools, tool_calls=[])


def _uploads(wire: Wire) -> Iterator[Json]:
    for status in get_args(get_type_hints(Upload)["status"]):
        yield wire.render_upload(replace(_UPLOAD, status=status), _FILE if status == "completed" else None)


def _replay_pages() -> Iterator[Json]:
    """Yields pages of a run's timeline, with an entry for each type of event that a run has."""
    yield render_replay_page([], more=False)
    entry: Json = {
        "version": 1,
        "at": "1970-01-01T00:00:01.000000+00:00",
        "gap_s": 0.5,
        "type": "run.created",
        "actor": "server",
        "request_id": "req_1",
        "summary": "s",
        "action": "a",
        "is_failure": False,
        "content": Free(),
    }
    types = [event.model_fields["type"].default for event in get_args(ThreadEvent) if "run_id" in event.model_fields]
    call: Json = {"prompt": Free(), "answer": {"content": [Free()], "tool_calls": [Free()]}, "cost": Free(total="0.1")}
    entries = [
        *({**entry, "type": type} for type in types),
        {**entry, "request_id": None, "action": None},
        {**entry, **call},
        {**entry, **call, "prompt": None, "cost": None},
    ]
    yield {**render_replay_page([], more=True), "data": entries, "last_version": 1}


def _threads() -> Iterator[Thread]:
    stores: Json = {"file_search": {"vector_store_ids": ["vs_1"]}}
    for resources in (_FILES | stores, _FILES, stores, {}):
        yield replace(_THREAD, tool_resources=resources)


def _transcripts(wire: Wire) -> Iterator[Json]:
    messages = [(message, wire.render_message(message)) for message in _messages()]
    for thread in _threads():
        found = sample_transcript(thread, wire.render_thread(thread), messages)
        for message in found["messages"]:
            message["file_names"] = Free(id="a.txt")
            message["metadata"] = Free(message["metadata"])
        found["thread"]["metadata"] = Free(found["thread"]["metadata"])
        yield found


def _of(wire: Wire) -> dict[str, list[Json]]:
    """Returns samples by name, as this version renders them."""
    found = {
        "Assistant": [wire.render_assistant(one) for one in _assistants()],
        "Thread": [wire.render_thread(one) for one in _threads()],
        "Message": [each.render_message(one) for each in (wire, _QUOTING.get(wire, wire)) for one in _messages()],
        "Run": [wire.render_run(one) for one in _runs()],
        "RunStep": [wire.render_step(one) for one in _steps()],
        "File": [wire.render_file(_FILE), wire.render_file(replace(_FILE, expires_at=None))],
        "Upload": list(_uploads(wire)),
        "UploadPart": [
            wire.render_upload_part(
                UploadPart(id="part_1", upload_id="upload_1", created_at=_AT, bytes=1, sha256="sha")
            )
        ],
        "DeletedFile": [wire.render_deleted_file("file-1")],
        "StreamToken": [access.render_stream_token("thread_1", "t", _AT, "u")],
        "FileLink": [access.render_file_link("file-1", _AT, "u")],
        **review_samples(),
        "RunReplay": list(_replay_pages()),
        "AssistantVersions": version_samples(),
        "BulkDeletion": [
            render_bulk_deletion(["thread_1"], is_dry_run=True, matching=1, created_before=_AT, more=False)
        ],
        "BulkCancellation": [
            render_bulk_cancellation([("thread_1", "run_1")], is_dry_run=True, matching=1, more=False)
        ],
        "ThreadTranscript": list(_transcripts(wire)),
        **endpoint_samples(),
        **organization_samples(),
    }
    return found | {_deleted_name(kind): [wire.render_deleted(kind, "id")] for kind in get_args(DeletedObject)}


def _deleted_name(kind: str) -> str:
    return "Deleted" + kind.rpartition(".")[2].capitalize()


def _files_of_v1() -> dict[str, list[Json]]:
    return {
        "AssistantFile": [ATTACHED_FILES.render_assistant_file("file-1", _ASSISTANT)],
        "MessageFile": [ATTACHED_FILES.render_message_file("file-1", _MESSAGE)],
        "DeletedAssistantFile": [ATTACHED_FILES.render_deleted_file("file-1")],
    }


def schemas() -> tuple[dict[str, Schema], dict[str, Schema]]:
    """Returns the schemas of v2's and of v1's answers by name, lists among them."""
    found: list[dict[str, Schema]] = []
    for wire, more in ((v2.WIRE, store_samples()), (v1.WIRE, _files_of_v1())):
        shown = {name: schema_of(samples) for name, samples in {**_of(wire), **more}.items()}
        lists = {f"{name}List": _list(wire, name) for name in shown if not name.startswith("Deleted")}
        found.append(shown | lists)
    return found[0], found[1]


def error() -> Schema:
    return schema_of([body("m", param="p", code="c"), body("m")])


def _list(wire: Wire, name: str) -> Schema:
    render: Any = wire.render_file_list if name == "File" else wire.render_list
    pages: Sequence[Json] = [render([], False), render([{"id": "x"}], True)]
    found = schema_of(pages)
    found["properties"]["data"] = {"type": "array", "items": {"$ref": name}}
    return found
