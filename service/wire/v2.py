"""The wire format `OpenAI-Beta: assistants=v2`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from events.ids import IdSource
from events.objects import SETTING_DEFAULTS, Assistant, File, Json, Message, Run, Step, Thread, Upload, UploadPart
from events.thread.commands import NewMessage
from service.wire import files, messages, query, render, requests, steps
from service.wire.api import DeletedObject, Wire
from service.wire.fields import MAX_FILES_PAGE
from service.wire.request_types import (
    FileListQuery,
    FileRequest,
    ListQuery,
    RunRequest,
    ThreadRequest,
    ToolOutputsRequest,
    UploadCompletion,
    UploadRequest,
)
from service.wire.requests import parse_body
from service.wire.retrieval import RetrievalPlan, v2_plan
from service.wire.tools import to_tool_resources, to_tools

# Settings of assistants and runs that a request leaves out (docs/behaviour.md, "Defaults").
DEFAULTS: Json = {name: SETTING_DEFAULTS[name] for name in ("temperature", "top_p", "response_format")}


class V2:
    version = "v2"
    names_tools_of_files = True

    def parse_new_assistant(self, body: Any) -> Json:
        return _to_settings(parse_body(requests.Assistant, body))

    def parse_assistant_changes(self, body: Any) -> Json:
        request = parse_body(requests.AssistantChange, body)
        settings = _to_settings(request)
        return requests.assistant_changes(settings, request.model_fields_set)

    def retrieval_plan(self, assistant_id: str, before: Assistant | None, settings: Json) -> RetrievalPlan:
        return v2_plan(assistant_id, before, settings)

    def files_to_unindex(self, before: Assistant, after: Iterable[str]) -> frozenset[str]:
        return frozenset()

    def parse_new_thread(self, body: Any, ids: IdSource) -> ThreadRequest:
        request = parse_body(requests.Thread, body)
        return requests.thread_request(request, to_tool_resources(request.tool_resources), ids)

    def parse_thread_changes(self, body: Any) -> Json:
        request = parse_body(requests.ThreadChange, body)
        values: Json = {"metadata": request.metadata or {}, "tool_resources": to_tool_resources(request.tool_resources)}
        return {name: values[name] for name in request.model_fields_set}

    def parse_new_message(self, body: Any, ids: IdSource) -> NewMessage:
        return parse_body(messages.Message, body).to_new_message(ids)

    def parse_metadata_change(self, body: Any) -> dict[str, str] | None:
        request = parse_body(requests.MetadataChange, body)
        return (request.metadata or {}) if "metadata" in request.model_fields_set else None

    def parse_new_run(self, body: Any, ids: IdSource) -> RunRequest:
        request = parse_body(requests.Run, body)
        return requests.run_request(request, _own_overrides(request), ids)

    def parse_new_thread_and_run(self, body: Any, ids: IdSource) -> tuple[ThreadRequest, RunRequest]:
        request = parse_body(requests.ThreadAndRun, body)
        resources = to_tool_resources(request.thread.tool_resources if request.thread else None)
        overrides = _own_overrides(request)
        if request.tool_resources is not None:
            overrides["tool_resources"] = to_tool_resources(request.tool_resources)
        return requests.thread_request(request.thread, resources, ids), requests.run_request(request, overrides, ids)

    def parse_tool_outputs(self, body: Any) -> ToolOutputsRequest:
        return requests.tool_outputs_request(parse_body(requests.Outputs, body))

    def parse_file_form(self, fields: Mapping[str, str]) -> FileRequest:
        return files.parse_file_form(fields)

    def parse_new_upload(self, body: Any) -> UploadRequest:
        return files.parse_new_upload(body)

    def parse_upload_completion(self, body: Any) -> UploadCompletion:
        return files.parse_upload_completion(body)

    def parse_list_query(self, query_: Mapping[str, str]) -> ListQuery:
        return query.parse_list_query(query_)

    def parse_file_list_query(self, query_: Mapping[str, str]) -> FileListQuery:
        page = query.parse_list_query(query_, most=MAX_FILES_PAGE, default=MAX_FILES_PAGE)
        return FileListQuery(page, query.parse_id(query_, "purpose"))

    def parse_include(self, values: Sequence[str]) -> frozenset[str]:
        return query.parse_include(values, (query.SEARCH_RESULT_CONTENT,))

    def render_assistant(self, assistant: Assistant) -> Json:
        return render.render_assistant(assistant)

    def render_thread(self, thread: Thread, *, resources: bool = False) -> Json:
        return render.render_thread(thread, resources=resources)

    def render_message(self, message: Message, *, streamed: bool = False) -> Json:
        return render.render_message(message, streamed=streamed)

    def render_modified_message(self, message: Message) -> Json:
        return render.render_modified_message(message)

    def render_delta_part(self, part: Json) -> Json:
        return render.render_delta_part(part)

    def render_new_call(self, id: str, type: str, name: str, search: Json | None) -> Json:
        return steps.render_new_call(id, type, name, search)

    def render_run(self, run: Run, *, streamed: bool = False) -> Json:
        return render.render_run(run, streamed=streamed)

    def render_step(self, step: Step, *, streamed: bool = False, include: frozenset[str] = frozenset()) -> Json:
        return steps.render_step(step, streamed=streamed, include=include)

    def render_file(self, file: File) -> Json:
        return files.render_file(file)

    def render_file_list(self, items: list[Json], more: bool) -> Json:
        return render.render_list(items, more)

    def render_deleted_file(self, file_id: str) -> Json:
        return {"object": "file", "deleted": True, "id": file_id}

    def render_upload(self, upload: Upload, file: File | None) -> Json:
        return files.render_upload(upload, self.render_file(file) if file is not None else None)

    def render_upload_part(self, part: UploadPart) -> Json:
        return files.render_upload_part(part)

    def render_list(self, items: list[Json], more: bool) -> Json:
        return render.render_list(items, more)

    def render_deleted(self, object: DeletedObject, id: str) -> Json:
        return render.render_deleted(object, id)


class QuotingV2(V2):
    """v2 with the quotes of citations, which the original hid (docs/api.md, "Quotes of citations")."""

    def render_message(self, message: Message, *, streamed: bool = False) -> Json:
        return render.render_message(message, streamed=streamed, quotes=True)

    def render_modified_message(self, message: Message) -> Json:
        return render.render_modified_message(message, quotes=True)

    def render_delta_part(self, part: Json) -> Json:
        return part


def _to_settings(request: requests.Assistant) -> Json:
    """Returns all settings of an assistant, with the defaults for those that are absent or null."""
    given = requests.given_fields(request, "tools", "tool_resources")
    return {
        "model": request.model,
        "name": request.name,
        "description": request.description,
        "instructions": request.instructions,
        "tools": to_tools(request.tools),
        "tool_resources": to_tool_resources(request.tool_resources),
        "metadata": request.metadata or {},
        "reasoning_effort": request.reasoning_effort,
        **DEFAULTS,
        **{name: given[name] for name in DEFAULTS if name in given},
        **requests.explicit_defaults_field(given),
    }


def _own_overrides(request: requests.Run | requests.ThreadAndRun) -> Json:
    return {} if request.tools is None else {"tools": to_tools(request.tools)}


WIRE: Wire = V2()
QUOTING_WIRE: Wire = QuotingV2()
