"""The types of parsed requests. They are the same for both versions of the API."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from events.objects import Json, RunStatus
from events.thread.commands import NewMessage
from events.thread.events import ToolOutput
from events.vector_store.requests import FileToIndex
from service.search.base import Ranker


@dataclass(frozen=True, slots=True)
class ListQuery:
    """The query parameters of a list, with their defaults."""

    limit: int
    order: Literal["asc", "desc"]
    after: str | None
    before: str | None


@dataclass(frozen=True, slots=True)
class ListFilters:
    """The conditions on a list's objects: pairs of metadata, and `since` <= created_at < `until`, in seconds."""

    metadata: tuple[tuple[str, str], ...]
    since: int | None
    until: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadSearch:
    """Further conditions on a list of threads: words of a message, the assistant of a run, the last run's status."""

    text: str | None
    assistant_id: str | None
    status: RunStatus | None


@dataclass(frozen=True, slots=True)
class ThreadRequest:
    metadata: dict[str, str]
    tool_resources: Json
    messages: tuple[NewMessage, ...]


@dataclass(frozen=True, slots=True)
class RunRequest:
    """`overrides` are the fields that the request gives a value, by the names of `RunSettings`.

    `allows_empty_prompt`: the version of the API accepts runs with neither a user message nor instructions.
    """

    assistant_id: str
    overrides: Json
    additional_instructions: str | None
    additional_messages: tuple[NewMessage, ...]
    stream: bool
    allows_empty_prompt: bool = False


@dataclass(frozen=True, slots=True)
class ToolOutputsRequest:
    outputs: tuple[ToolOutput, ...]
    stream: bool


@dataclass(frozen=True, slots=True)
class FileRequest:
    """`expires_after` is in seconds."""

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
class UploadCompletion:
    """`md5` is the digest of the whole file in lower-case hexadecimal."""

    part_ids: tuple[str, ...]
    md5: str | None


@dataclass(frozen=True, slots=True)
class FileListQuery:
    page: ListQuery
    purpose: str | None


@dataclass(frozen=True, slots=True)
class FileUse:
    """A file that a request names, the purposes of files that may be used so, and whether the file will be indexed."""

    id: str
    purposes: tuple[str, ...]
    is_searched: bool = False


@dataclass(frozen=True, slots=True)
class FileBatchRequest:
    files: tuple[FileToIndex, ...]


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """`filter` has the API's shape (see `service.search.filters`)."""

    queries: tuple[str, ...]
    rewrite: bool
    limit: int
    filter: Json | None
    ranker: Ranker
    threshold: float
