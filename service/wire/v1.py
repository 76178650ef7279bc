"""`OpenAI-Beta: assistants=v1`. What v1 cannot say has one rendering each:

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

And what v1 says is to v2: file_ids of an assistant are code_interpreter's files, and with `retrieval` among its tools
in a vector store of the assistant's; those of a message are attachments for code_interpreter and file_search, so that
they are the thread's files too and in the thread's vector store.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from events.ids import IdSource
from events.objects import Assistant, File, Message, Run, Step, Thread
from events.thread.commands import NewMessage
from service.wire import messages, query, render, requests, steps
from service.wire.api import FilesQuery, Json, Links, Page, RunRequest, ThreadRequest, VectorStoreWire, Wire
from service.wire.fields import MAX_FILES_PAGE
from service.wire.files import FileLinks
from service.wire.requests import parsed
from service.wire.retrieval import RetrievalPlan, removed_files, v1_plan
from service.wire.tools import code_files, tools
from service.wire.v2 import DEFAULTS, V2

_NOT_IN_V1 = ("tool_resources", "reasoning_effort", "parallel_tool_calls")


class V1(V2):
    """v2's ways where v1 has the same; the rest is here."""

    version = "v1"

    def create_assistant(self, body: Any) -> Json:
        return _settings(parsed(requests.AssistantV1, body))

    def modify_assistant(self, body: Any) -> Json:
        asked = parsed(requests.AssistantChangeV1, body)
        # No files is said here too: what is absent would stay as it is.
        settings = _settings(asked) | {"tool_resources": code_files(asked.file_ids or ())}
        named = {"tool_resources" if name == "file_ids" else name for name in asked.model_fields_set}
        return {name: settings[name] for name in named if not (name == "model" and not asked.model)}

    def retrieval_plan(self, assistant_id: str, before: Assistant | None, settings: Json) -> RetrievalPlan:
        return v1_plan(assistant_id, before, settings)

    def files_to_unindex(self, before: Assistant, after: Iterable[str]) -> frozenset[str]:
        return removed_files(before, after)

    def create_thread(self, body: Any, ids: IdSource) -> ThreadRequest:
        return requests.thread_request(parsed(requests.ThreadV1, body), {}, ids)

    def modify_thread(self, body: Any) -> Json:
        metadata = self.modify_metadata(body)
        return {} if metadata is None else {"metadata": metadata}

    def create_message(self, body: Any, ids: IdSource) -> NewMessage:
        return parsed(messages.MessageV1, body).new(ids)

    def create_run(self, body: Any, ids: IdSource) -> RunRequest:
        asked = parsed(requests.RunV1, body)
        return requests.run_request(asked, _own(asked), ids)

    def create_thread_and_run(self, body: Any, ids: IdSource) -> tuple[ThreadRequest, RunRequest]:
        asked = parsed(requests.ThreadAndRunV1, body)
        return requests.thread_request(asked.thread, {}, ids), requests.run_request(asked, _own(asked), ids)

    def links(self) -> Links:
        return FileLinks()

    def vector_stores(self) -> VectorStoreWire | None:
        return None

    def files_page(self, query_: Mapping[str, str]) -> FilesQuery:
        """v1 has no pages of files: it lists them all, up to the longest page there is."""
        page = Page(limit=MAX_FILES_PAGE, order="desc", after=None, before=None)
        return FilesQuery(page, query.object_id(query_, "purpose"))

    def include(self, values: Sequence[str]) -> frozenset[str]:
        """v1 has none, and ignores the parameter as it does any other."""
        return frozenset()

    def assistant(self, assistant: Assistant) -> Json:
        shown = _without(render.assistant(assistant))
        shown["tools"] = _tools(assistant.tools)
        shown["file_ids"] = _file_ids(assistant.tool_resources)
        shown["response_format"] = _format(assistant.response_format)
        return shown

    def thread(self, thread: Thread, *, resources: bool = False) -> Json:
        return _without(render.thread(thread))

    def message(self, message: Message, *, streamed: bool = False) -> Json:
        """v1's document wants the status over REST too."""
        shown = render.message(message, streamed=True)
        attachments = shown.pop("attachments")
        shown["content"] = [_part(part) for part in message.content]
        shown["file_ids"] = list(dict.fromkeys(attachment["file_id"] for attachment in attachments))
        return shown

    def modified_message(self, message: Message) -> Json:
        return self.message(message)

    def delta_part(self, part: Json) -> Json:
        return _part(part)

    def begun_call(self, id: str, kind: str, name: str, search: Json | None) -> Json:
        return _call(steps.begun_call(id, kind, name, search))

    def run(self, run: Run, *, streamed: bool = False) -> Json:
        shown = _without(render.run(run, streamed=streamed))
        shown["status"] = "completed" if run.status == "incomplete" else run.status
        shown["tools"] = _tools(run.tools)
        shown["file_ids"] = _file_ids(run.tool_resources)
        shown["usage"] = _usage(shown["usage"])
        shown["response_format"] = _format(run.response_format)
        shown["tool_choice"] = _choice(run.tool_choice)
        return shown

    def file(self, file: File) -> Json:
        shown = super().file(file)
        del shown["expires_at"], shown["status_details"]
        return shown

    def files(self, items: list[Json], more: bool) -> Json:
        return {"object": "list", "data": items}

    def step(self, step: Step, *, streamed: bool = False, include: frozenset[str] = frozenset()) -> Json:
        shown = steps.step(step, streamed=streamed, include=include)
        details = shown["step_details"]
        if details["type"] == "tool_calls":
            shown["step_details"] = {**details, "tool_calls": [_call(call) for call in details["tool_calls"]]}
        shown["usage"] = _usage(shown["usage"])
        return shown


def _settings(asked: requests.AssistantV1) -> Json:
    """All settings of an assistant, in the core's superset."""
    given = requests.named(asked, "tools", "file_ids")
    return {
        "model": asked.model,
        "name": asked.name,
        "description": asked.description,
        "instructions": asked.instructions,
        "tools": tools(asked.tools),
        "tool_resources": code_files(asked.file_ids) if asked.file_ids else {},
        "metadata": asked.metadata or {},
        "reasoning_effort": None,
        **DEFAULTS,
        **{name: given[name] for name in DEFAULTS if name in given},
    }


def _own(asked: requests.RunV1 | requests.ThreadAndRunV1) -> Json:
    return {} if asked.tools is None else {"tools": tools(asked.tools)}


def _without(shown: Json) -> Json:
    return {key: value for key, value in shown.items() if key not in _NOT_IN_V1}


def _tools(shown: Sequence[Json]) -> list[Json]:
    return [_tool(tool) for tool in shown]


def _tool(tool: Json) -> Json:
    match tool["type"]:
        case "file_search":
            return {"type": "retrieval"}
        case "function":
            return {"type": "function", "function": {k: v for k, v in tool["function"].items() if k != "strict"}}
        case _:
            return tool


def _call(call: Json) -> Json:
    return {"id": call["id"], "type": "retrieval", "retrieval": {}} if call["type"] == "file_search" else call


def _file_ids(resources: Json) -> list[str]:
    found: list[str] = resources.get("code_interpreter", {}).get("file_ids", [])
    return list(found)


def _usage(shown: Json | None) -> Json | None:
    if shown is None:
        return None
    return {name: shown[name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")}


def _format(shown: str | Json) -> str | Json:
    return {"type": "json_object"} if isinstance(shown, dict) and shown["type"] == "json_schema" else shown


def _choice(shown: str | Json) -> str | Json:
    if isinstance(shown, dict):
        return {"type": "retrieval"} if shown["type"] == "file_search" else shown
    return "auto" if shown == "required" else shown


def _part(part: Json) -> Json:
    match part["type"]:
        case "image_file":
            return {"type": "image_file", "image_file": {"file_id": part["image_file"]["file_id"]}}
        case "refusal":
            return {"type": "text", "text": {"value": part["refusal"], "annotations": []}}
        case "image_url":
            return {"type": "text", "text": {"value": part["image_url"]["url"], "annotations": []}}
        case "image_file":
            return {"type": "image_file", "image_file": {"file_id": part["image_file"]["file_id"]}}
        case _:
            return part


WIRE: Wire = V1()
