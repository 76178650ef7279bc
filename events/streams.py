"""The registry of stream types: how each type of stream decides, evolves, and stores its state.

To add a type of stream: write its events, state, commands, `decide` and `evolve`, add it here, to the events of
`events.codec`, to the views of `projections.views`, and to the blocks of sql/queries/rebuild.sql.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar

from pydantic import TypeAdapter

from events import api_key, assistant, file, installation, project, session, upload, webhook_endpoint
from events.api_key import KeyCommand, KeyState
from events.assistant import AssistantCommand, AssistantState
from events.envelope import RecordedEvent
from events.file import FileCommand, FileState
from events.installation import InstallationCommand, InstallationState
from events.project import ProjectCommand, ProjectState
from events.session import SessionCommand, SessionState
from events.thread import decide as thread_decide
from events.thread import state as thread_state
from events.thread.commands import ThreadCommand
from events.thread.state import ThreadState
from events.upload import UploadCommand, UploadState
from events.vector_store import decide as vector_store_decide
from events.vector_store import state as vector_store_state
from events.vector_store.commands import VectorStoreCommand
from events.vector_store.state import VectorStoreState
from events.webhook_endpoint import WebhookCommand, WebhookState

S = TypeVar("S")
C = TypeVar("C")


class Decide(Protocol[S, C]):  # type: ignore[misc]
    """Returns the events that a command leads to at time `at`; raises a DomainError if the command is refused."""

    def __call__(self, state: S, command: C, at: datetime, /) -> Sequence[Any]: ...


class Evolve(Protocol[S]):
    """Returns the state after an event."""

    def __call__(self, state: S, recorded: RecordedEvent[Any], /) -> S: ...


@dataclass(frozen=True, slots=True, eq=False)
class StreamType(Generic[S, C]):
    """A type of stream.

    `name` is its text in the column `streams.kind`. `initial` makes the state of a stream without events from its id.
    States are stored as the JSON of `adapter`; those of another `state_schema` are computed again from the events.
    """

    name: str
    state_schema: int
    initial: Callable[[str], S]
    decide: Decide[S, C]
    evolve: Evolve[S]
    adapter: TypeAdapter[S]

    @property
    def noun(self) -> str:
        """The type as messages name it, for example `vector store`."""
        return self.name.replace("_", " ")


ASSISTANT: StreamType[AssistantState, AssistantCommand] = StreamType(
    name="assistant",
    state_schema=assistant.STATE_SCHEMA,
    initial=AssistantState,
    decide=assistant.decide,
    evolve=assistant.evolve,
    adapter=TypeAdapter(AssistantState),
)
FILE: StreamType[FileState, FileCommand] = StreamType(
    name="file",
    state_schema=file.STATE_SCHEMA,
    initial=FileState,
    decide=file.decide,
    evolve=file.evolve,
    adapter=TypeAdapter(FileState),
)
UPLOAD: StreamType[UploadState, UploadCommand] = StreamType(
    name="upload",
    state_schema=upload.STATE_SCHEMA,
    initial=UploadState,
    decide=upload.decide,
    evolve=upload.evolve,
    adapter=TypeAdapter(UploadState),
)
KEY: StreamType[KeyState, KeyCommand] = StreamType(
    name="key",
    state_schema=api_key.STATE_SCHEMA,
    initial=KeyState,
    decide=api_key.decide,
    evolve=api_key.evolve,
    adapter=TypeAdapter(KeyState),
)
PROJECT: StreamType[ProjectState, ProjectCommand] = StreamType(
    name="project",
    state_schema=project.STATE_SCHEMA,
    initial=ProjectState,
    decide=project.decide,
    evolve=project.evolve,
    adapter=TypeAdapter(ProjectState),
)
VECTOR_STORE: StreamType[VectorStoreState, VectorStoreCommand] = StreamType(
    name="vector_store",
    state_schema=vector_store_state.STATE_SCHEMA,
    initial=VectorStoreState,
    decide=vector_store_decide.decide,
    evolve=vector_store_state.evolve,
    adapter=TypeAdapter(VectorStoreState),
)
WEBHOOK_ENDPOINT: StreamType[WebhookState, WebhookCommand] = StreamType(
    name="webhook_endpoint",
    state_schema=webhook_endpoint.STATE_SCHEMA,
    initial=WebhookState,
    decide=webhook_endpoint.decide,
    evolve=webhook_endpoint.evolve,
    adapter=TypeAdapter(WebhookState),
)
INSTALLATION: StreamType[InstallationState, InstallationCommand] = StreamType(
    name="installation",
    state_schema=installation.STATE_SCHEMA,
    initial=InstallationState,
    decide=installation.decide,
    evolve=installation.evolve,
    adapter=TypeAdapter(InstallationState),
)
SESSION: StreamType[SessionState, SessionCommand] = StreamType(
    name="session",
    state_schema=session.STATE_SCHEMA,
    initial=SessionState,
    decide=session.decide,
    evolve=session.evolve,
    adapter=TypeAdapter(SessionState),
)
THREAD: StreamType[ThreadState, ThreadCommand] = StreamType(
    name="thread",
    state_schema=thread_state.STATE_SCHEMA,
    initial=ThreadState,
    decide=thread_decide.decide,
    evolve=thread_state.evolve,
    adapter=TypeAdapter(ThreadState),
)

STREAM_TYPES: Mapping[str, StreamType[Any, Any]] = {
    stream_type.name: stream_type
    for stream_type in (
        ASSISTANT,
        FILE,
        UPLOAD,
        KEY,
        PROJECT,
        VECTOR_STORE,
        WEBHOOK_ENDPOINT,
        INSTALLATION,
        SESSION,
        THREAD,
    )
}


def stream_type_named(name: str) -> StreamType[Any, Any]:
    """Returns the type that a row of `streams` names. Raises ValueError for a type of newer software."""
    if name not in STREAM_TYPES:
        raise ValueError(f"stream type '{name}' is unknown to this software")
    return STREAM_TYPES[name]
