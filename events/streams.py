"""What kinds of streams there are: how each decides and folds, and what its folded state is kept as."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar

from pydantic import TypeAdapter

from events import api_key, assistant, file, project, upload, webhook_endpoint
from events.api_key import KeyCommand, KeyState
from events.assistant import AssistantCommand, AssistantState
from events.envelope import Recorded
from events.file import FileCommand, FileState
from events.project import ProjectCommand, ProjectState
from events.thread import decide as thread_decide
from events.thread import state as thread_state
from events.thread.commands import ThreadCommand
from events.thread.state import ThreadState
from events.upload import UploadCommand, UploadState
from events.vector_store import decide as vector_store
from events.vector_store import state as vector_store_state
from events.vector_store.commands import VectorStoreCommand
from events.vector_store.state import VectorStoreState
from events.webhook_endpoint import WebhookCommand, WebhookState

S = TypeVar("S")
C = TypeVar("C")


class Decide(Protocol[S, C]):  # type: ignore[misc]
    def __call__(self, state: S, command: C, at: datetime, /) -> Sequence[Any]: ...


@dataclass(frozen=True, slots=True)
class Kind(Generic[S, C]):
    """What a kind of stream is: how it decides and folds. `VIEWS` names the views that follow it."""

    name: str
    schema: int
    initial: Callable[[str], S]
    decide: Decide[S, C]
    evolve: Callable[[S, Recorded[Any]], S]
    adapter: TypeAdapter[S]


ASSISTANT: Kind[AssistantState, AssistantCommand] = Kind(
    "assistant",
    assistant.STATE_SCHEMA,
    AssistantState,
    lambda state, command, at: assistant.decide(state, command),
    assistant.evolve,
    TypeAdapter(AssistantState),
)
FILE: Kind[FileState, FileCommand] = Kind(
    "file",
    file.STATE_SCHEMA,
    FileState,
    file.decide,
    file.evolve,
    TypeAdapter(FileState),
)
UPLOAD: Kind[UploadState, UploadCommand] = Kind(
    "upload",
    upload.STATE_SCHEMA,
    UploadState,
    upload.decide,
    upload.evolve,
    TypeAdapter(UploadState),
)
KEY: Kind[KeyState, KeyCommand] = Kind(
    "key",
    api_key.STATE_SCHEMA,
    KeyState,
    lambda state, command, at: api_key.decide(state, command),
    api_key.evolve,
    TypeAdapter(KeyState),
)
PROJECT: Kind[ProjectState, ProjectCommand] = Kind(
    "project",
    project.STATE_SCHEMA,
    ProjectState,
    lambda state, command, at: project.decide(state, command),
    project.evolve,
    TypeAdapter(ProjectState),
)
VECTOR_STORE: Kind[VectorStoreState, VectorStoreCommand] = Kind(
    "vector_store",
    vector_store_state.STATE_SCHEMA,
    VectorStoreState,
    vector_store.decide,
    vector_store_state.evolve,
    TypeAdapter(VectorStoreState),
)
WEBHOOK_ENDPOINT: Kind[WebhookState, WebhookCommand] = Kind(
    "webhook_endpoint",
    webhook_endpoint.STATE_SCHEMA,
    WebhookState,
    lambda state, command, at: webhook_endpoint.decide(state, command),
    webhook_endpoint.evolve,
    TypeAdapter(WebhookState),
)
THREAD: Kind[ThreadState, ThreadCommand] = Kind(
    "thread",
    thread_state.STATE_SCHEMA,
    ThreadState,
    thread_decide.decide,
    thread_state.evolve,
    TypeAdapter(ThreadState),
)
