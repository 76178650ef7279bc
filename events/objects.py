"""The API's objects, in one superset of v1 and v2. Projections store them, and `service.wire` renders them.

Times are whole seconds since the epoch. Nested JSON (tools, content, tool_resources, …) has the API's v2 shapes. Every
object has an initial form, which the event that creates it holds; later events replace fields of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Json = dict[str, Any]
UsageJson = dict[str, int]
RunStatus = Literal[
    "queued",
    "in_progress",
    "requires_action",
    "cancelling",
    "cancelled",
    "failed",
    "completed",
    "incomplete",
    "expired",
]


# Settings that are shown with these values if nobody set them (docs/behaviour.md, "Defaults").
SETTING_DEFAULTS: Mapping[str, Any] = {
    "temperature": 1.0,
    "top_p": 1.0,
    "response_format": "auto",
    "parallel_tool_calls": True,
}


def explicit_defaults(given: Mapping[str, Any]) -> list[str]:
    """Returns the names of the settings in `given` that a client set to the value that they have by default.

    Events of earlier releases have no such list. A setting with its default value was not set there.
    """
    return [name for name, default in SETTING_DEFAULTS.items() if name in given and given[name] == default]


@dataclass(frozen=True, slots=True)
class Assistant:
    """`explicit_defaults` names the settings that were set to their default value."""

    id: str
    created_at: int
    model: str
    name: str | None
    description: str | None
    instructions: str | None
    tools: list[Json]
    tool_resources: Json
    metadata: dict[str, str]
    temperature: float | None
    top_p: float | None
    response_format: str | Json
    reasoning_effort: str | None
    explicit_defaults: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Thread:
    id: str
    created_at: int
    metadata: dict[str, str]
    tool_resources: Json


@dataclass(frozen=True, slots=True)
class Message:
    """`ended_at` is the time when it was completed or became incomplete; null while a run still writes it."""

    id: str
    thread_id: str
    created_at: int
    role: Literal["user", "assistant"]
    content: list[Json]
    attachments: list[Json]
    metadata: dict[str, str]
    assistant_id: str | None = None
    run_id: str | None = None
    status: Literal["in_progress", "completed", "incomplete"] = "completed"
    incomplete_reason: str | None = None
    ended_at: int | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """`required_calls` are the tool calls of required_action; `usage` is null until the run has ended.

    `explicit_defaults` names the settings that the assistant or the run's request set to their default value.
    """

    id: str
    thread_id: str
    created_at: int
    assistant_id: str
    model: str
    instructions: str | None
    tools: list[Json]
    tool_resources: Json
    metadata: dict[str, str]
    temperature: float | None
    top_p: float | None
    reasoning_effort: str | None
    response_format: str | Json
    tool_choice: str | Json
    parallel_tool_calls: bool
    truncation_strategy: Json
    max_prompt_tokens: int | None
    max_completion_tokens: int | None
    expires_at: int | None
    status: RunStatus = "queued"
    started_at: int | None = None
    completed_at: int | None = None
    cancelled_at: int | None = None
    failed_at: int | None = None
    incomplete_reason: str | None = None
    required_calls: list[Json] | None = None
    last_error: Json | None = None
    usage: UsageJson | None = None
    explicit_defaults: list[str] = field(default_factory=list)

    def explicit_value(self, setting: str) -> Any:
        """Returns the value of a setting that has a default, or None if neither the assistant nor the run set it."""
        value = getattr(self, setting)
        return value if value != SETTING_DEFAULTS[setting] or setting in self.explicit_defaults else None


@dataclass(frozen=True, slots=True)
class Step:
    """A step of type message_creation has `message_id`; a step of type tool_calls has `tool_calls`.

    `outputs` are the outputs of functions by call id. `results` are the results of hosted calls by call id: {shown,
    output, files, citations}, or {shown} of a call that was stopped. `ended_at` is the time of the final `status`: the
    API's completed_at, cancelled_at, failed_at or expired_at.
    """

    id: str
    thread_id: str
    run_id: str
    assistant_id: str
    created_at: int
    expires_at: int
    type: Literal["message_creation", "tool_calls"]
    message_id: str | None
    tool_calls: list[Json]
    status: Literal["in_progress", "completed", "cancelled", "failed", "expired"] = "in_progress"
    outputs: dict[str, str] = field(default_factory=dict)
    results: dict[str, Json] = field(default_factory=dict)
    ended_at: int | None = None
    last_error: Json | None = None
    usage: UsageJson | None = None


@dataclass(frozen=True, slots=True)
class File:
    """`blob` is the key of its bytes in the blob storage."""

    id: str
    created_at: int
    filename: str
    purpose: str
    bytes: int
    sha256: str
    content_type: str
    expires_at: int | None
    blob: str


@dataclass(frozen=True, slots=True)
class Upload:
    """`expires_after` is for the file, in seconds. `file_id` is null until the upload is completed."""

    id: str
    created_at: int
    filename: str
    purpose: str
    bytes: int
    content_type: str
    expires_after: int | None
    expires_at: int
    status: Literal["pending", "completed", "cancelled", "expired"] = "pending"
    file_id: str | None = None


@dataclass(frozen=True, slots=True)
class UploadPart:
    id: str
    upload_id: str
    created_at: int
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class VectorStore:
    """`expires_after` in days after `last_active_at`. `expired` says that its chunks were deleted."""

    id: str
    created_at: int
    name: str | None
    description: str | None
    metadata: dict[str, str]
    expires_after: int | None
    embedding_model: str
    last_active_at: int
    expired: bool = False
    in_progress: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    usage_bytes: int = 0


@dataclass(frozen=True, slots=True)
class VectorStoreFile:
    """`id` is that of the File. `chunking` is {max_chunk_size_tokens, chunk_overlap_tokens}, or null if unknown."""

    id: str
    vector_store_id: str
    created_at: int
    filename: str
    attributes: Json
    chunking: Json | None
    status: Literal["in_progress", "completed", "failed", "cancelled"] = "in_progress"
    usage_bytes: int = 0
    last_error: Json | None = None


@dataclass(frozen=True, slots=True)
class VectorStoreBatch:
    id: str
    vector_store_id: str
    created_at: int
    is_cancelled: bool
    in_progress: int
    completed: int
    failed: int
    cancelled: int
