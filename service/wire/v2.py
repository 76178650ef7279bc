"""`OpenAI-Beta: assistants=v2`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from events.errors import Rejected
from events.ids import IdSource
from events.objects import Assistant, File, Message, Run, Step, Thread, Upload, UploadPart
from events.thread.commands import NewMessage
from service.wire import files, messages, query, render, requests, steps
from service.wire.api import (
    CompletionRequest,
    Deleted,
    FileRequest,
    FilesQuery,
    Json,
    Links,
    Page,
    RunRequest,
    ThreadRequest,
    ToolOutputsRequest,
    UploadRequest,
    VectorStoreWire,
    Wire,
)
from service.wire.fields import MAX_FILES_PAGE
from service.wire.requests import parsed
from service.wire.retrieval import RetrievalPlan, v2_plan
from service.wire.tools import tool_resources, tools
from service.wire.vector_stores import STORES

# What assistants and runs have where nothing is said (docs/behaviour.md, "Defaults").
DEFAULTS: Json = {"temperature": 1.0, "top_p": 1.0, "response_format": "auto"}


class V2:
    version = "v2"

    def create_assistant(self, body: Any) -> Json:
        return _settings(parsed(requests.Assistant, body))

    def modify_assistant(self, body: Any) -> Json:
        asked = parsed(requests.AssistantChange, body)
        settings = _settings(asked)
        return {name: settings[name] for name in asked.model_fields_set if not (name == "model" and not asked.model)}

    def retrieval_plan(self, assistant_id: str, before: Assistant | None, settings: Json) -> RetrievalPlan:
        return v2_plan(assistant_id, before, settings)

    def files_to_unindex(self, before: Assistant, after: Iterable[str]) -> frozenset[str]:
        return frozenset()

    def create_thread(self, body: Any, ids: IdSource) -> ThreadRequest:
        asked = parsed(requests.Thread, body)
        return requests.thread_request(asked, tool_resources(asked.tool_resources), ids)

    def modify_thread(self, body: Any) -> Json:
        asked = parsed(requests.ThreadChange, body)
        values: Json = {"metadata": asked.metadata or {}, "tool_resources": tool_resources(asked.tool_resources)}
        return {name: values[name] for name in asked.model_fields_set}

    def create_message(self, body: Any, ids: IdSource) -> NewMessage:
        return parsed(messages.Message, body).new(ids)

    def modify_metadata(self, body: Any) -> dict[str, str] | None:
        asked = parsed(requests.MetadataChange, body)
        return (asked.metadata or {}) if "metadata" in asked.model_fields_set else None

    def create_run(self, body: Any, ids: IdSource) -> RunRequest:
        asked = parsed(requests.Run, body)
        return requests.run_request(asked, _own(asked), ids)

    def create_thread_and_run(self, body: Any, ids: IdSource) -> tuple[ThreadRequest, RunRequest]:
        asked = parsed(requests.ThreadAndRun, body)
        resources = tool_resources(asked.thread.tool_resources if asked.thread else None)
        overrides = _own(asked)
        if asked.tool_resources is not None:
            overrides["tool_resources"] = tool_resources(asked.tool_resources)
        return requests.thread_request(asked.thread, resources, ids), requests.run_request(asked, overrides, ids)

    def submit_tool_outputs(self, body: Any) -> ToolOutputsRequest:
        return requests.outputs_request(parsed(requests.Outputs, body))

    def create_file(self, fields: Mapping[str, str]) -> FileRequest:
        return files.file_request(fields)

    def create_upload(self, body: Any) -> UploadRequest:
        return files.upload_request(body)

    def complete_upload(self, body: Any) -> CompletionRequest:
        return files.completion_request(body)

    def links(self) -> Links:
        message = (
            "Files of assistants and messages are operations of v1. Please set the header 'OpenAI-Beta: assistants=v1',"
            " or use tool_resources and attachments."
        )
        raise Rejected(message, code="invalid_beta")

    def vector_stores(self) -> VectorStoreWire | None:
        return STORES

    def page(self, query_: Mapping[str, str]) -> Page:
        return query.page(query_)

    def files_page(self, query_: Mapping[str, str]) -> FilesQuery:
        page = query.page(query_, most=MAX_FILES_PAGE, default=MAX_FILES_PAGE)
        return FilesQuery(page, query.object_id(query_, "purpose"))

    def include(self, values: Sequence[str]) -> frozenset[str]:
        return query.include(values, (query.CONTENT,))

    def assistant(self, assistant: Assistant) -> Json:
        return render.assistant(assistant)

    def thread(self, thread: Thread, *, resources: bool = False) -> Json:
        return render.thread(thread, resources=resources)

    def message(self, message: Message, *, streamed: bool = False) -> Json:
        return render.message(message, streamed=streamed)

    def modified_message(self, message: Message) -> Json:
        return render.modified_message(message)

    def delta_part(self, part: Json) -> Json:
        return render.delta_part(part)

    def begun_call(self, id: str, kind: str, name: str, search: Json | None) -> Json:
        return steps.begun_call(id, kind, name, search)

    def run(self, run: Run, *, streamed: bool = False) -> Json:
        return render.run(run, streamed=streamed)

    def step(self, step: Step, *, streamed: bool = False, include: frozenset[str] = frozenset()) -> Json:
        return steps.step(step, streamed=streamed, include=include)

    def file(self, file: File) -> Json:
        return files.file(file)

    def files(self, items: list[Json], more: bool) -> Json:
        return render.listing(items, more)

    def deleted_file(self, file_id: str) -> Json:
        return {"object": "file", "deleted": True, "id": file_id}

    def upload(self, upload: Upload, file: File | None) -> Json:
        return files.upload(upload, self.file(file) if file is not None else None)

    def upload_part(self, part: UploadPart) -> Json:
        return files.part(part)

    def listing(self, items: list[Json], more: bool) -> Json:
        return render.listing(items, more)

    def deleted(self, kind: Deleted, id: str) -> Json:
        return render.deleted(kind, id)


def _settings(asked: requests.Assistant) -> Json:
    """All settings of an assistant, with the defaults for what is absent or null."""
    given = requests.named(asked, "tools", "tool_resources")
    return {
        "model": asked.model,
        "name": asked.name,
        "description": asked.description,
        "instructions": asked.instructions,
        "tools": tools(asked.tools),
        "tool_resources": tool_resources(asked.tool_resources),
        "metadata": asked.metadata or {},
        "reasoning_effort": asked.reasoning_effort,
        **DEFAULTS,
        **{name: given[name] for name in DEFAULTS if name in given},
    }


def _own(asked: requests.Run | requests.ThreadAndRun) -> Json:
    return {} if asked.tools is None else {"tools": tools(asked.tools)}


WIRE: Wire = V2()
