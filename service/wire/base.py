"""What handlers ask of a version of the API. They hold a `Wire` and never branch on which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from events.objects import Assistant, Message, Run, Step, Thread
from events.thread_commands import NewMessage
from events.thread_events import ToolOutput

Json = dict[str, Any]
Deleted = Literal["assistant", "thread", "thread.message"]


@dataclass(frozen=True, slots=True)
class Page:
    """A list's query parameters, with their defaults."""

    limit: int
    order: Literal["asc", "desc"]
    after: str | None
    before: str | None


@dataclass(frozen=True, slots=True)
class ThreadRequest:
    metadata: dict[str, str]
    tool_resources: Json
    messages: tuple[NewMessage, ...]


@dataclass(frozen=True, slots=True)
class RunRequest:
    """`overrides` holds what the request named with a value, by the names of `RunSettings`."""

    assistant_id: str
    overrides: Json
    additional_instructions: str | None
    additional_messages: tuple[NewMessage, ...]
    stream: bool


@dataclass(frozen=True, slots=True)
class ToolOutputsRequest:
    outputs: tuple[ToolOutput, ...]
    stream: bool


class Wire(Protocol):
    """One version of the API. Parsing takes decoded JSON (None for no body) and raises Rejected or FileNotFound."""

    @property
    def version(self) -> str: ...

    def create_assistant(self, body: Any) -> Json:
        """The settings of AssistantCreated, all of them."""
        ...

    def modify_assistant(self, body: Any) -> Json:
        """The fields that the request names; null clears."""
        ...

    def create_thread(self, body: Any) -> ThreadRequest: ...

    def modify_thread(self, body: Any) -> Json: ...

    def create_message(self, body: Any) -> NewMessage: ...

    def modify_metadata(self, body: Any) -> dict[str, str] | None:
        """For messages and runs; None where the request leaves it alone."""
        ...

    def create_run(self, body: Any) -> RunRequest: ...

    def create_thread_and_run(self, body: Any) -> tuple[ThreadRequest, RunRequest]: ...

    def submit_tool_outputs(self, body: Any) -> ToolOutputsRequest: ...

    def page(self, query: Mapping[str, str]) -> Page: ...

    def include(self, values: Sequence[str]) -> frozenset[str]: ...

    def assistant(self, assistant: Assistant) -> Json: ...

    def thread(self, thread: Thread, *, resources: bool = False) -> Json:
        """`resources`: shown even where there are none, as streams and GET do and POST does not."""
        ...

    def message(self, message: Message, *, streamed: bool = False) -> Json:
        """Over REST, or as stream events show it: with its status."""
        ...

    def modified_message(self, message: Message) -> Json:
        """As the answer to a modification shows it."""
        ...

    def part(self, part: Json) -> Json:
        """A part of a message's content, as this version knows it."""
        ...

    def run(self, run: Run, *, streamed: bool = False) -> Json: ...

    def step(self, step: Step, *, streamed: bool = False) -> Json: ...

    def listing(self, items: list[Json], more: bool) -> Json: ...

    def deleted(self, kind: Deleted, id: str) -> Json: ...
