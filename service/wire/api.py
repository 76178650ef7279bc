"""What handlers ask of a version of the API. They hold a `Wire` and never branch on which."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from events.ids import IdSource
from events.objects import (
    Assistant,
    File,
    Message,
    Run,
    Step,
    Thread,
    Upload,
    UploadPart,
    VectorStore,
    VectorStoreBatch,
    VectorStoreFile,
)
from events.thread.commands import NewMessage
from events.thread.events import ToolOutput
from events.vector_store.events import Chunking
from service.search.base import Ranker, SearchResult
from service.wire.retrieval import RetrievalPlan

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
class Filters:
    """What a list is narrowed to: pairs of metadata, and created_at from `since` on and before `until`, in seconds."""

    metadata: tuple[tuple[str, str], ...]
    since: int | None
    until: int | None


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


@dataclass(frozen=True, slots=True)
class FileRequest:
    """`expires_after` in seconds."""

    purpose: str
    expires_after: int | None


@dataclass(frozen=True, slots=True)
class UploadRequest:
    filename: str
    purpose: str
    bytes: int
    content_type: str
    expires_after: int | None


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """`md5` of the whole file, in lower-case hexadecimal."""

    part_ids: tuple[str, ...]
    md5: str | None


@dataclass(frozen=True, slots=True)
class FilesQuery:
    page: Page
    purpose: str | None


@dataclass(frozen=True, slots=True)
class FileUse:
    """A file that a request names, and the purposes that fit its use there."""

    id: str
    purposes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FileToIndex:
    """A file for a vector store."""

    id: str
    chunking: Chunking
    attributes: Json


@dataclass(frozen=True, slots=True)
class StoreRequest:
    """`expires_after` in days; `files` each once."""

    name: str | None
    description: str | None
    metadata: dict[str, str]
    expires_after: int | None
    files: tuple[FileToIndex, ...]


@dataclass(frozen=True, slots=True)
class BatchRequest:
    files: tuple[FileToIndex, ...]


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """`filter` in the API's shape, for `service.search.filters`."""

    queries: tuple[str, ...]
    rewrite: bool
    limit: int
    filter: Json | None
    ranker: Ranker
    threshold: float


class VectorStoreWire(Protocol):
    """v2's own: vector stores. Parsing raises Rejected."""

    def create(self, body: Any) -> StoreRequest: ...

    def modify(self, body: Any) -> Json: ...

    def add_file(self, body: Any) -> FileToIndex: ...

    def change_attributes(self, body: Any) -> Json: ...

    def create_batch(self, body: Any) -> BatchRequest: ...

    def search(self, body: Any) -> SearchRequest: ...

    def status_filter(self, asked: Mapping[str, str]) -> str | None: ...

    def content_page(self, asked: Mapping[str, str]) -> int: ...

    def store(self, store: VectorStore) -> Json: ...

    def file(self, file: VectorStoreFile) -> Json: ...

    def batch(self, batch: VectorStoreBatch) -> Json: ...

    def search_result(self, result: SearchResult) -> Json: ...

    def content(self, texts: Sequence[str], next_page: int | None) -> Json: ...

    def deleted(self, id: str) -> Json: ...

    def deleted_file(self, id: str) -> Json: ...


class Links(Protocol):
    """v1's own: files of assistants and messages as objects."""

    def attach(self, body: Any) -> str: ...

    def of_assistant(self, file_id: str, assistant: Assistant) -> Json: ...

    def of_message(self, file_id: str, message: Message) -> Json: ...

    def detached(self, file_id: str) -> Json: ...


class Wire(Protocol):
    """One version of the API. Parsing takes decoded JSON (None for no body) and raises Rejected."""

    @property
    def version(self) -> str: ...

    def create_assistant(self, body: Any) -> Json:
        """The settings of AssistantCreated, all of them; stores to be made in them are StoreRequests."""
        ...

    def modify_assistant(self, body: Any) -> Json:
        """The fields that the request names; null clears."""
        ...

    def retrieval_plan(self, assistant_id: str, before: Assistant | None, settings: Json) -> RetrievalPlan:
        """The vector stores that the assistant's file search needs under these settings (or changes of them).

        `before` is None for a new assistant.
        """
        ...

    def files_to_unindex(self, before: Assistant, after: Iterable[str]) -> frozenset[str]:
        """The files to take out of the assistant's own store if its files become those of `after`."""
        ...

    def create_thread(self, body: Any, ids: IdSource) -> ThreadRequest: ...

    def modify_thread(self, body: Any) -> Json: ...

    def create_message(self, body: Any, ids: IdSource) -> NewMessage: ...

    def modify_metadata(self, body: Any) -> dict[str, str] | None:
        """For messages and runs; None where the request leaves it alone."""
        ...

    def create_run(self, body: Any, ids: IdSource) -> RunRequest: ...

    def create_thread_and_run(self, body: Any, ids: IdSource) -> tuple[ThreadRequest, RunRequest]: ...

    def submit_tool_outputs(self, body: Any) -> ToolOutputsRequest: ...

    def create_file(self, fields: Mapping[str, str]) -> FileRequest:
        """From the fields of a form, all but the file itself."""
        ...

    def create_upload(self, body: Any) -> UploadRequest: ...

    def complete_upload(self, body: Any) -> CompletionRequest: ...

    def links(self) -> Links:
        """Raises Rejected where the version has none."""
        ...

    def vector_stores(self) -> VectorStoreWire | None:
        """None where the version has none."""
        ...

    def page(self, query: Mapping[str, str]) -> Page: ...

    def files_page(self, query: Mapping[str, str]) -> FilesQuery: ...

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

    def delta_part(self, part: Json) -> Json:
        """A part of a message's content, as deltas of this version show it."""
        ...

    def begun_call(self, id: str, kind: str, name: str, search: Json | None) -> Json:
        """A tool call at its beginning, as deltas show it. `search` is a file_search's {ranking_options}."""
        ...

    def run(self, run: Run, *, streamed: bool = False) -> Json: ...

    def step(self, step: Step, *, streamed: bool = False, include: frozenset[str] = frozenset()) -> Json:
        """`include` names what the request asked for besides (`Wire.include`)."""
        ...

    def file(self, file: File) -> Json: ...

    def files(self, items: list[Json], more: bool) -> Json:
        """A list of files."""
        ...

    def deleted_file(self, file_id: str) -> Json: ...

    def upload(self, upload: Upload, file: File | None) -> Json: ...

    def upload_part(self, part: UploadPart) -> Json: ...

    def listing(self, items: list[Json], more: bool) -> Json: ...

    def deleted(self, kind: Deleted, id: str) -> Json: ...
