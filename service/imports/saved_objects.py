"""The API's objects as people saved them, in the forms of v1 and v2, and the objects of Everthread that they become.

Saved objects may lack fields that a release did not have yet; these get the API's defaults. Fields that Everthread does
not know are left out. Objects that had not ended when they were saved never go on, so they become expired.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from events.objects import Assistant, Json, Message, Run, RunStatus, Step
from events.vector_store.events import Chunking
from service.wire.attributes import Attributes
from service.wire.chunking_strategy import StaticStrategy, to_chunking

MAX_ID = 128  # characters
MAX_DAYS = 365
# Seconds after which a step or a run of the original expired if the saved one does not say when.
EXPIRY_S = 600
_ENDED: frozenset[str] = frozenset({"cancelled", "failed", "completed", "incomplete", "expired"})

# The tool that v1 calls retrieval, as v2 shows it.
SEARCH_TOOL: Json = {
    "type": "file_search",
    "file_search": {"ranking_options": {"ranker": "default_2024_08_21", "score_threshold": 0.0}},
}

Id = Annotated[str, Field(min_length=1, max_length=MAX_ID, pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.:-]*$")]
Seconds = Annotated[int, Field(ge=0, lt=10**11)]


def _metadata(value: object) -> object:
    """Returns metadata with texts as values, as v1 stored them."""
    if not isinstance(value, dict):
        return value or {}
    return {key: item if isinstance(item, str) else str(item) for key, item in value.items()}


def _storable(value: object) -> object:
    """Returns attributes without NUL, which Postgres rejects in text."""
    if not isinstance(value, dict):
        return value
    clean = {key.replace("\x00", "\ufffd"): item for key, item in value.items()}
    return {key: item.replace("\x00", "\ufffd") if isinstance(item, str) else item for key, item in clean.items()}


Metadata = Annotated[dict[str, str], BeforeValidator(_metadata)]


class SavedObject(BaseModel):
    model_config = ConfigDict(extra="ignore")

    id: Id
    created_at: Seconds


class SavedAssistant(SavedObject):
    model: str
    name: str | None = None
    description: str | None = None
    instructions: str | None = None
    tools: list[Json] = Field(default_factory=list)
    tool_resources: Json | None = None
    file_ids: list[Id] | None = None
    metadata: Metadata = Field(default_factory=dict)
    temperature: float | None = 1.0
    top_p: float | None = 1.0
    response_format: str | Json | None = None
    reasoning_effort: str | None = None

    def to_assistant(self) -> Assistant:
        """Raises ValueError if a tool has no known form."""
        return Assistant(
            id=self.id,
            created_at=self.created_at,
            model=self.model,
            name=self.name,
            description=self.description,
            instructions=self.instructions,
            tools=to_tools(self.tools),
            tool_resources=to_resources(self.tool_resources, self.file_ids),
            metadata=self.metadata,
            temperature=self.temperature,
            top_p=self.top_p,
            response_format=self.response_format or "auto",
            reasoning_effort=self.reasoning_effort,
        )


class SavedFile(SavedObject):
    filename: str = Field(min_length=1, max_length=1024)
    purpose: str = "assistants"
    bytes: int | None = None


class SavedStore(SavedObject):
    name: str | None = None
    description: str | None = None
    metadata: Metadata = Field(default_factory=dict)
    expires_after: Json | None = None

    @property
    def days(self) -> int | None:
        """The days after its last use after which it expires; None if it has none within the API's bounds."""
        days = (self.expires_after or {}).get("days")
        return days if type(days) is int and 1 <= days <= MAX_DAYS else None


class SavedStoreFile(SavedObject):
    """A file of a vector store: `id` is that of the file."""

    vector_store_id: Id
    attributes: Annotated[Attributes | None, BeforeValidator(_storable)] = None
    chunking_strategy: Json | None = None

    @property
    def chunking(self) -> Chunking:
        """The sizes of its chunks; the defaults if it has none within the API's bounds."""
        try:
            return to_chunking(StaticStrategy.model_validate(self.chunking_strategy))
        except ValidationError:
            return to_chunking(None)


class SavedThread(SavedObject):
    metadata: Metadata = Field(default_factory=dict)
    tool_resources: Json | None = None


class SavedMessage(SavedObject):
    """`file_ids` is the v1 form of `attachments`."""

    thread_id: Id
    role: Literal["user", "assistant"]
    content: list[Json] | str = Field(default_factory=list)
    attachments: list[Json] | None = None
    file_ids: list[Id] | None = None
    metadata: Metadata = Field(default_factory=dict)
    assistant_id: Id | None = None
    run_id: Id | None = None
    status: Literal["in_progress", "completed", "incomplete"] | None = None
    incomplete_details: Json | None = None
    completed_at: Seconds | None = None
    incomplete_at: Seconds | None = None

    def to_message(self) -> Message:
        """Raises ValueError if a part of the content has no known form."""
        is_complete = self.status in (None, "completed")
        return Message(
            id=self.id,
            thread_id=self.thread_id,
            created_at=self.created_at,
            role=self.role,
            content=_content(self.content),
            attachments=_attachments(self.attachments, self.file_ids),
            metadata=self.metadata,
            assistant_id=self.assistant_id,
            run_id=self.run_id,
            status="completed" if is_complete else "incomplete",
            incomplete_reason=None if is_complete else _reason(self.incomplete_details) or "run_expired",
            ended_at=self.completed_at or self.incomplete_at or self.created_at,
        )


class SavedRun(SavedObject):
    thread_id: Id
    assistant_id: Id
    status: RunStatus
    model: str = ""
    instructions: str | None = None
    tools: list[Json] = Field(default_factory=list)
    tool_resources: Json | None = None
    file_ids: list[Id] | None = None
    metadata: Metadata = Field(default_factory=dict)
    temperature: float | None = 1.0
    top_p: float | None = 1.0
    reasoning_effort: str | None = None
    response_format: str | Json | None = None
    tool_choice: str | Json | None = None
    parallel_tool_calls: bool | None = None
    truncation_strategy: Json | None = None
    max_prompt_tokens: int | None = None
    max_completion_tokens: int | None = None
    expires_at: Seconds | None = None
    started_at: Seconds | None = None
    completed_at: Seconds | None = None
    cancelled_at: Seconds | None = None
    failed_at: Seconds | None = None
    incomplete_details: Json | None = None
    last_error: Json | None = None
    usage: Json | None = None

    @property
    def has_ended(self) -> bool:
        return self.status in _ENDED

    def to_run(self) -> Run:
        """Raises ValueError if a field has no known form."""
        return Run(
            id=self.id,
            thread_id=self.thread_id,
            created_at=self.created_at,
            assistant_id=self.assistant_id,
            model=self.model,
            instructions=self.instructions,
            tools=to_tools(self.tools),
            tool_resources=to_resources(self.tool_resources, self.file_ids),
            metadata=self.metadata,
            temperature=self.temperature,
            top_p=self.top_p,
            reasoning_effort=self.reasoning_effort,
            response_format=self.response_format or "auto",
            tool_choice=self.tool_choice or "auto",
            parallel_tool_calls=self.parallel_tool_calls is not False,
            truncation_strategy=self.truncation_strategy or {"type": "auto", "last_messages": None},
            max_prompt_tokens=self.max_prompt_tokens,
            max_completion_tokens=self.max_completion_tokens,
            expires_at=self.expires_at if self.has_ended else self.expires_at or self.created_at + EXPIRY_S,
            status=self.status if self.has_ended else "expired",
            started_at=self.started_at,
            completed_at=self.completed_at,
            cancelled_at=self.cancelled_at,
            failed_at=self.failed_at,
            incomplete_reason=_reason(self.incomplete_details),
            last_error=_last_error(self.last_error),
            usage=_usage(self.usage),
        )


class SavedStep(SavedObject):
    thread_id: Id
    run_id: Id
    assistant_id: Id
    type: Literal["message_creation", "tool_calls"] | None = None
    status: Literal["in_progress", "completed", "cancelled", "failed", "expired"] = "completed"
    step_details: Json
    expires_at: Seconds | None = None
    completed_at: Seconds | None = None
    cancelled_at: Seconds | None = None
    failed_at: Seconds | None = None
    expired_at: Seconds | None = None
    last_error: Json | None = None
    usage: Json | None = None

    def to_step(self) -> Step:
        """Raises ValueError if the details have no known form."""
        kind = self.step_details.get("type") or self.type
        expires_at = self.expires_at or self.created_at + EXPIRY_S
        ends = (self.completed_at, self.cancelled_at, self.failed_at, self.expired_at)
        calls = [_tool_call(call) for call in _list(self.step_details, "tool_calls")]
        if kind not in ("message_creation", "tool_calls"):
            raise ValueError(f"its step_details have the type {kind!r}")
        return Step(
            id=self.id,
            thread_id=self.thread_id,
            run_id=self.run_id,
            assistant_id=self.assistant_id,
            created_at=self.created_at,
            expires_at=expires_at,
            type=kind,
            message_id=_text(_object(self.step_details, "message_creation"), "message_id", None),
            tool_calls=[call for call, _, _ in calls],
            status="expired" if self.status == "in_progress" else self.status,
            outputs={call["id"]: output for call, output, _ in calls if output is not None},
            results={call["id"]: result for call, _, result in calls if result is not None},
            ended_at=next((at for at in ends if at is not None), expires_at),
            last_error=_last_error(self.last_error),
            usage=_usage(self.usage),
        )


def to_tools(tools: list[Json]) -> list[Json]:
    """Returns tools in the form of v2. Raises ValueError if one has no known form."""
    found: list[Json] = []
    for tool in tools:
        match tool.get("type"):
            case "retrieval":
                found.append(SEARCH_TOOL)
            case "code_interpreter" | "file_search":
                found.append(tool)
            case "function" if isinstance(tool.get("function"), dict) and isinstance(tool["function"].get("name"), str):
                found.append(tool)
            case other:
                raise ValueError(f"it has a tool of the type {other!r}")
    return found


def to_resources(resources: Json | None, file_ids: list[str] | None) -> Json:
    """Returns the resources, and the `file_ids` of v1 as files of code_interpreter."""
    found: Json = {}
    for tool, name in (("code_interpreter", "file_ids"), ("file_search", "vector_store_ids")):
        named = (resources or {}).get(tool)
        if isinstance(named, dict):
            found[tool] = {name: [id for id in _list(named, name) if isinstance(id, str)]}
    if file_ids and "code_interpreter" not in found:
        found["code_interpreter"] = {"file_ids": file_ids}
    return found


def _content(content: list[Json] | str) -> list[Json]:
    parts: list[Any] = [content] if isinstance(content, str) else list(content)
    return [_part(part) for part in parts]


def _part(part: Any) -> Json:
    """Returns a part of a message in the form of v2. Raises ValueError if it has no known form."""
    if isinstance(part, str):
        return _text_part(part, [])
    match part:
        case {"type": "text", "text": str(text)}:
            return _text_part(text, [])
        case {"type": "text", "text": {"value": str(text), **rest}}:
            annotations = rest.get("annotations")
            found = annotations if isinstance(annotations, list) else []
            return _text_part(text, [_annotation(one) for one in found])
        case {"type": "image_file", "image_file": {"file_id": str()} as image}:
            return {"type": "image_file", "image_file": image}
        case {"type": "image_url", "image_url": {"url": str()} as image}:
            return {"type": "image_url", "image_url": image}
        case {"type": "refusal", "refusal": str(refusal)}:
            return {"type": "refusal", "refusal": refusal}
        case _:
            kind = part.get("type") if isinstance(part, dict) else type(part).__name__
            raise ValueError(f"its content has a part of the type {kind!r} without a known form")


def _text_part(text: str, annotations: list[Json]) -> Json:
    return {"type": "text", "text": {"value": text, "annotations": annotations}}


def _annotation(annotation: Any) -> Json:
    match annotation:
        case {
            "type": "file_citation" | "file_path" as kind,
            "text": str(text),
            "start_index": int(start),
            "end_index": int(end),
        } if isinstance(_object(annotation, kind).get("file_id"), str):
            return {"type": kind, "text": text, "start_index": start, "end_index": end, kind: annotation[kind]}
        case _:
            raise ValueError("its content has an annotation without a known form")


def _attachments(attachments: list[Json] | None, file_ids: list[str] | None) -> list[Json]:
    if attachments:
        return [one for one in attachments if isinstance(one.get("file_id"), str)]
    tools = [{"type": "code_interpreter"}, {"type": "file_search"}]
    return [{"file_id": file_id, "tools": tools} for file_id in file_ids or ()]


def _tool_call(call: Any) -> tuple[Json, str | None, Json | None]:
    """Returns a call as a step stores it, the output of its function, and the result of its hosted tool."""
    match call:
        case {"id": str(id), "type": "function", "function": {"name": str(name)} as called}:
            function = {"name": name, "arguments": _text(called, "arguments", "{}")}
            return {"id": id, "type": "function", "function": function}, _text(called, "output", None), None
        case {"id": str(id), "type": "code_interpreter"}:
            details = _object(call, "code_interpreter")
            function = {"name": "code_interpreter", "arguments": _code_arguments(_text(details, "input", "") or "")}
            outputs = [one for one in _list(details, "outputs") if _is_output(one)]
            logs = "\n".join(one["logs"] for one in outputs if one["type"] == "logs")
            result: Json = {"shown": {"outputs": outputs}, "output": logs}
            return {"id": id, "type": "code_interpreter", "function": function}, None, result
        case {"id": str(id), "type": "file_search" | "retrieval" as kind}:
            details = _object(call, kind)
            function = {"name": "file_search", "arguments": "{}"}
            search = {name: details[name] for name in ("ranking_options",) if isinstance(details.get(name), dict)}
            results = [_result(one) for one in _list(details, "results") if isinstance(one, dict)]
            result = {"shown": {"results": results}}
            return {"id": id, "type": "file_search", "function": function, "file_search": search}, None, result
        case _:
            raise ValueError("it has a tool call without a known form")


def _code_arguments(code: str) -> str:
    return orjson.dumps({"code": code}).decode()


def _is_output(output: Any) -> bool:
    match output:
        case {"type": "logs", "logs": str()} | {"type": "image", "image": {"file_id": str()}}:
            return True
        case _:
            return False


def _result(result: Json) -> Json:
    content = [one for one in _list(result, "content") if isinstance(one, dict) and isinstance(one.get("text"), str)]
    return {
        "file_id": _text(result, "file_id", ""),
        "file_name": _text(result, "file_name", ""),
        "score": result["score"] if isinstance(result.get("score"), int | float) else 0.0,
        "attributes": _object(result, "attributes"),
        "content": [{"type": "text", "text": one["text"]} for one in content],
    }


def _object(place: Mapping[str, Any], name: str) -> Json:
    value = place.get(name)
    return value if isinstance(value, dict) else {}


def _list(place: Mapping[str, Any], name: str) -> list[Any]:
    value = place.get(name)
    return value if isinstance(value, list) else []


def _text(place: Mapping[str, Any], name: str, default: str | None) -> str | None:
    value = place.get(name)
    return value if isinstance(value, str) else default


def _reason(details: Json | None) -> str | None:
    return _text(details, "reason", None) if details else None


def _last_error(error: Json | None) -> Json | None:
    if not error:
        return None
    return {"code": _text(error, "code", "server_error"), "message": _text(error, "message", "")}


def _usage(usage: Json | None) -> dict[str, int] | None:
    """Returns the counts of tokens, in the spellings of the original and of its documents."""
    if not usage:
        return None
    prompt = _object(usage, "prompt_token_details") or _object(usage, "prompt_tokens_details")
    return {
        "prompt_tokens": _count(usage, "prompt_tokens"),
        "completion_tokens": _count(usage, "completion_tokens"),
        "cached_tokens": _count(prompt, "cached_tokens"),
        "reasoning_tokens": _count(_object(usage, "completion_tokens_details"), "reasoning_tokens"),
    }


def _count(place: Json, name: str) -> int:
    value = place.get(name)
    return value if type(value) is int and 0 <= value < 2**53 else 0
