"""The API's objects as people saved them, in the forms of v1 and v2, and the objects of Everthread that they become.

Saved objects may lack fields that a release did not have yet; these get the API's defaults. Fields that Everthread does
not know are left out. Objects that had not ended when they were saved never go on, so they become expired.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from events.objects import Assistant, Json, Message, Run, RunStatus, Step
from events.vector_store.events import Chunking
from service.imports.saved_content import load_attachments, load_content
from service.imports.saved_tools import load_tool_call, to_resources, to_tools
from service.imports.saved_values import list_of, load_last_error, load_reason, load_usage, object_of, text_of
from service.wire.attributes import Attributes
from service.wire.chunking_strategy import StaticStrategy, to_chunking
from service.wire.vector_stores import MAX_DAYS

MAX_ID = 128  # characters
# Seconds after which a step or a run of the original expired if the saved one does not say when.
EXPIRY_S = 600
_ENDED: frozenset[str] = frozenset({"cancelled", "failed", "completed", "incomplete", "expired"})


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


class SavedSettings(SavedObject):
    """The settings that assistants and runs have in common. `file_ids` is the v1 form of `tool_resources`."""

    instructions: str | None = None
    tools: list[Json] = Field(default_factory=list)
    tool_resources: Json | None = None
    file_ids: list[Id] | None = None
    metadata: Metadata = Field(default_factory=dict)
    temperature: float | None = 1.0
    top_p: float | None = 1.0
    reasoning_effort: str | None = None
    response_format: str | Json | None = None

    def settings(self) -> dict[str, Any]:
        """Returns the settings by name. Raises ValueError if a tool has no known form."""
        return {
            "instructions": self.instructions,
            "tools": to_tools(self.tools),
            "tool_resources": to_resources(self.tool_resources, self.file_ids),
            "metadata": self.metadata,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "reasoning_effort": self.reasoning_effort,
            "response_format": self.response_format or "auto",
        }


class SavedAssistant(SavedSettings):
    model: str
    name: str | None = None
    description: str | None = None

    def to_assistant(self) -> Assistant:
        """Raises ValueError if a tool has no known form."""
        return Assistant(
            id=self.id,
            created_at=self.created_at,
            model=self.model,
            name=self.name,
            description=self.description,
            **self.settings(),
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
            content=load_content(self.content),
            attachments=load_attachments(self.attachments, self.file_ids),
            metadata=self.metadata,
            assistant_id=self.assistant_id,
            run_id=self.run_id,
            status="completed" if is_complete else "incomplete",
            incomplete_reason=None if is_complete else load_reason(self.incomplete_details) or "run_expired",
            ended_at=self.completed_at or self.incomplete_at or self.created_at,
        )


class SavedRun(SavedSettings):
    thread_id: Id
    assistant_id: Id
    status: RunStatus
    model: str = ""
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
            **self.settings(),
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
            incomplete_reason=load_reason(self.incomplete_details),
            last_error=load_last_error(self.last_error),
            usage=load_usage(self.usage),
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
        calls = [load_tool_call(call) for call in list_of(self.step_details, "tool_calls")]
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
            message_id=text_of(object_of(self.step_details, "message_creation"), "message_id", None),
            tool_calls=[call for call, _, _ in calls],
            status="expired" if self.status == "in_progress" else self.status,
            outputs={call["id"]: output for call, output, _ in calls if output is not None},
            results={call["id"]: result for call, _, result in calls if result is not None},
            ended_at=next((at for at in ends if at is not None), expires_at),
            last_error=load_last_error(self.last_error),
            usage=load_usage(self.usage),
        )
