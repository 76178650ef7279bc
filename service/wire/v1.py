"""The wire format `OpenAI-Beta: assistants=v1`.

v1 renders what it has no words for as follows:

file_search tool            retrieval
an incomplete run           completed, with incomplete_details
code_interpreter's files    file_ids of assistants and runs
a message's attachments     file_ids, each once
a refusal                   a text part
an image by its URL         a text part that holds the URL
a json_schema format        {"type": "json_object"}
a "required" tool choice    "auto"
an image's detail           nothing
a file's expires_at         nothing

For v2, the file_ids of an assistant are files of code_interpreter, and if the assistant has `retrieval`, they are also
in a vector store of its own (`retrieval`). The file_ids of a message are attachments for code_interpreter and
file_search, so they are also files of the thread, and in the thread's vector store if the search can index them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from events.ids import IdSource
from events.objects import Assistant, File, Json, Message, Run, Step, Thread
from events.thread.commands import NewMessage
from service.wire import messages, query, render, requests, steps
from service.wire.api import Wire
from service.wire.fields import MAX_FILES_PAGE
from service.wire.request_types import FileListQuery, ListQuery, RunRequest, ThreadRequest
from service.wire.requests import parse_body
from service.wire.retrieval import RetrievalPlan, removed_files, v1_plan
from service.wire.tools import to_code_resources, to_tools
from service.wire.v2 import DEFAULTS, V2

_NOT_IN_V1 = ("tool_resources", "reasoning_effort", "parallel_tool_calls")


class V1(V2):
    """Inherits from V2 the operations that are the same in both versions."""

    version = "v1"
    names_tools_of_files = False

    def parse_new_assistant(self, body: Any) -> Json:
        return _to_settings(parse_body(requests.AssistantV1, body))

    def parse_assistant_changes(self, body: Any) -> Json:
        request = parse_body(requests.AssistantChangeV1, body)
        # An empty list of files is named too, or the change would keep the files.
        settings = _to_settings(request) | {"tool_resources": to_code_resources(request.file_ids or ())}
        named = {"tool_resources" if name == "file_ids" else name for name in request.model_fields_set}
        return requests.assistant_changes(settings, named)

    def retrieval_plan(self, assistant_id: str, before: Assistant | None, settings: Json) -> RetrievalPlan:
        return v1_plan(assistant_id, before, settings)

    def files_to_unindex(self, before: Assistant, after: Iterable[str]) -> frozenset[str]:
        return removed_files(before, after)

    def parse_new_thread(self, body: Any, ids: IdSource) -> ThreadRequest:
        return requests.thread_request(parse_body(requests.ThreadV1, body), {}, ids)

    def parse_thread_changes(self, body: Any) -> Json:
        metadata = self.parse_metadata_change(body)
        return {} if metadata is None else {"metadata": metadata}

    def parse_new_message(self, body: Any, ids: IdSource) -> NewMessage:
        return parse_body(messages.MessageV1, body).to_new_message(ids)

    def parse_new_run(self, body: Any, ids: IdSource) -> RunRequest:
        request = parse_body(requests.RunV1, body)
        return requests.run_request(request, _own_overrides(request), ids, allows_empty_prompt=True)

    def parse_metadata_change(self, body: Any) -> dict[str, str] | None:
        request = parse_body(requests.MetadataChangeV1, body)
        return (request.metadata or {}) if "metadata" in request.model_fields_set else None

    def parse_new_thread_and_run(self, body: Any, ids: IdSource) -> tuple[ThreadRequest, RunRequest]:
        request = parse_body(requests.ThreadAndRunV1, body)
        return requests.thread_request(request.thread, {}, ids), requests.run_request(
            request, _own_overrides(request), ids, allows_empty_prompt=True
        )

    def parse_file_list_query(self, query_: Mapping[str, str]) -> FileListQuery:
        """v1 lists files without pages: all of them, up to the longest page."""
        page = ListQuery(limit=MAX_FILES_PAGE, order="desc", after=None, before=None)
        return FileListQuery(page, query.parse_id(query_, "purpose"))

    def parse_include(self, values: Sequence[str]) -> frozenset[str]:
        """v1 has no include[], and ignores it like any unknown parameter."""
        return frozenset()

    def render_assistant(self, assistant: Assistant) -> Json:
        rendered = _without_v2_fields(render.render_assistant(assistant))
        rendered["tools"] = _render_tools(assistant.tools)
        rendered["file_ids"] = _render_file_ids(assistant.tool_resources)
        rendered["response_format"] = _render_format(assistant.response_format)
        return rendered

    def render_thread(self, thread: Thread, *, resources: bool = False) -> Json:
        return _without_v2_fields(render.render_thread(thread))

    def render_message(self, message: Message, *, streamed: bool = False) -> Json:
        """v1 shows the status over REST too."""
        rendered = render.render_message(message, streamed=True)
        attachments = rendered.pop("attachments")
        rendered["content"] = [_render_part(part) for part in message.content]
        rendered["file_ids"] = list(dict.fromkeys(attachment["file_id"] for attachment in attachments))
        return rendered

    def render_modified_message(self, message: Message) -> Json:
        return self.render_message(message)

    def render_delta_part(self, part: Json) -> Json:
        return _render_part(part)

    def render_new_call(self, id: str, type: str, name: str, search: Json | None) -> Json:
        return _render_call(steps.render_new_call(id, type, name, search))

    def render_run(self, run: Run, *, streamed: bool = False) -> Json:
        rendered = _without_v2_fields(render.render_run(run, streamed=streamed))
        rendered["status"] = "completed" if run.status == "incomplete" else run.status
        rendered["tools"] = _render_tools(run.tools)
        rendered["file_ids"] = _render_file_ids(run.tool_resources)
        rendered["usage"] = _render_usage(rendered["usage"])
        rendered["response_format"] = _render_format(run.response_format)
        rendered["tool_choice"] = _render_tool_choice(run.tool_choice)
        return rendered

    def render_file(self, file: File) -> Json:
        rendered = super().render_file(file)
        del rendered["expires_at"], rendered["status_details"]
        return rendered

    def render_file_list(self, items: list[Json], more: bool) -> Json:
        return {"object": "list", "data": items}

    def render_step(self, step: Step, *, streamed: bool = False, include: frozenset[str] = frozenset()) -> Json:
        rendered = steps.render_step(step, streamed=streamed, include=include)
        details = rendered["step_details"]
        if details["type"] == "tool_calls":
            rendered["step_details"] = {**details, "tool_calls": [_render_call(call) for call in details["tool_calls"]]}
        rendered["usage"] = _render_usage(rendered["usage"])
        return rendered


def _to_settings(request: requests.AssistantV1) -> Json:
    """Returns all settings of an assistant, in the shapes of v2."""
    given = requests.given_fields(request, "tools", "file_ids")
    return {
        "model": request.model,
        "name": request.name,
        "description": request.description,
        "instructions": request.instructions,
        "tools": to_tools(request.tools),
        "tool_resources": to_code_resources(request.file_ids) if request.file_ids else {},
        "metadata": request.metadata or {},
        "reasoning_effort": None,
        **DEFAULTS,
        **{name: given[name] for name in DEFAULTS if name in given},
        **requests.explicit_defaults_field(given),
    }


def _own_overrides(request: requests.RunV1 | requests.ThreadAndRunV1) -> Json:
    return {} if request.tools is None else {"tools": to_tools(request.tools)}


def _without_v2_fields(rendered: Json) -> Json:
    return {key: value for key, value in rendered.items() if key not in _NOT_IN_V1}


def _render_tools(tools: Sequence[Json]) -> list[Json]:
    return [_render_tool(tool) for tool in tools]


def _render_tool(tool: Json) -> Json:
    match tool["type"]:
        case "file_search":
            return {"type": "retrieval"}
        case "function":
            return {"type": "function", "function": {k: v for k, v in tool["function"].items() if k != "strict"}}
        case _:
            return tool


def _render_call(call: Json) -> Json:
    return {"id": call["id"], "type": "retrieval", "retrieval": {}} if call["type"] == "file_search" else call


def _render_file_ids(resources: Json) -> list[str]:
    found: list[str] = resources.get("code_interpreter", {}).get("file_ids", [])
    return list(found)


def _render_usage(usage: Json | None) -> Json | None:
    if usage is None:
        return None
    return {name: usage[name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")}


def _render_format(response_format: str | Json) -> str | Json:
    if isinstance(response_format, dict) and response_format["type"] == "json_schema":
        return {"type": "json_object"}
    return response_format


def _render_tool_choice(tool_choice: str | Json) -> str | Json:
    if isinstance(tool_choice, dict):
        return {"type": "retrieval"} if tool_choice["type"] == "file_search" else tool_choice
    return "auto" if tool_choice == "required" else tool_choice


def _render_part(part: Json) -> Json:
    match part["type"]:
        case "image_file":
            return {"type": "image_file", "image_file": {"file_id": part["image_file"]["file_id"]}}
        case "refusal":
            return {"type": "text", "text": {"value": part["refusal"], "annotations": []}}
        case "image_url":
            return {"type": "text", "text": {"value": part["image_url"]["url"], "annotations": []}}
        case _:
            return part


WIRE: Wire = V1()
