"""The interface to a version of the API. Handlers hold a `Wire` and never ask which version it is.

`parse_*` methods take decoded JSON (None for a request without a body) and raise Rejection. `render_*` methods return
JSON objects.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, Protocol

from events.ids import IdSource
from events.objects import (
    Assistant,
    File,
    Json,
    Message,
    Run,
    Step,
    Thread,
    Upload,
    UploadPart,
)
from events.thread.commands import NewMessage
from service.wire.request_types import (
    FileListQuery,
    FileRequest,
    ListQuery,
    RunRequest,
    ThreadRequest,
    ToolOutputsRequest,
    UploadCompletion,
    UploadRequest,
)
from service.wire.retrieval import RetrievalPlan

DeletedObject = Literal["assistant", "thread", "thread.message"]


class Wire(Protocol):
    """One version of the API."""

    @property
    def version(self) -> str:
        """The version's name, which tokens and idempotency keys are bound to. Nothing branches on it."""
        ...

    @property
    def names_tools_of_files(self) -> bool:
        """Whether a message names the tools that may use its files. If it does not, a file that the search cannot
        index is for the other tools only.
        """
        ...

    def parse_new_assistant(self, body: Any) -> Json:
        """All settings of AssistantCreated. Vector stores that the request wants created are VectorStoreRequests."""
        ...

    def parse_assistant_changes(self, body: Any) -> Json:
        """The fields that the request names; null clears a field."""
        ...

    def retrieval_plan(self, assistant_id: str, before: Assistant | None, settings: Json) -> RetrievalPlan:
        """The vector stores that the assistant's file search needs under these settings (or changes of them).

        `before` is None for a new assistant.
        """
        ...

    def files_to_unindex(self, before: Assistant, after: Iterable[str]) -> frozenset[str]:
        """The files to take out of the assistant's own store if its files become those of `after`."""
        ...

    def parse_new_thread(self, body: Any, ids: IdSource) -> ThreadRequest: ...

    def parse_thread_changes(self, body: Any) -> Json: ...

    def parse_new_message(self, body: Any, ids: IdSource) -> NewMessage: ...

    def parse_metadata_change(self, body: Any) -> dict[str, str] | None:
        """The new metadata of a message or run; None if the request does not change it."""
        ...

    def parse_new_run(self, body: Any, ids: IdSource) -> RunRequest: ...

    def parse_new_thread_and_run(self, body: Any, ids: IdSource) -> tuple[ThreadRequest, RunRequest]: ...

    def parse_tool_outputs(self, body: Any) -> ToolOutputsRequest: ...

    def parse_file_form(self, fields: Mapping[str, str]) -> FileRequest:
        """`fields` are those of the form, without the file itself."""
        ...

    def parse_new_upload(self, body: Any) -> UploadRequest: ...

    def parse_upload_completion(self, body: Any) -> UploadCompletion: ...

    def parse_list_query(self, query: Mapping[str, str]) -> ListQuery: ...

    def parse_file_list_query(self, query: Mapping[str, str]) -> FileListQuery: ...

    def parse_include(self, values: Sequence[str]) -> frozenset[str]: ...

    def render_assistant(self, assistant: Assistant) -> Json: ...

    def render_thread(self, thread: Thread, *, resources: bool = False) -> Json:
        """`resources`: shows tool_resources even if they are empty, as streams and GET do and POST does not."""
        ...

    def render_message(self, message: Message, *, streamed: bool = False) -> Json:
        """`streamed`: as stream events show it, with its status."""
        ...

    def render_modified_message(self, message: Message) -> Json:
        """The message as the response to a modification shows it."""
        ...

    def render_delta_part(self, part: Json) -> Json:
        """A part of a message's content as deltas show it."""
        ...

    def render_new_call(self, id: str, type: str, name: str, search: Json | None) -> Json:
        """A tool call in its first delta. `search` is {ranking_options} of a file_search."""
        ...

    def render_run(self, run: Run, *, streamed: bool = False) -> Json: ...

    def render_step(self, step: Step, *, streamed: bool = False, include: frozenset[str] = frozenset()) -> Json:
        """`include` is the result of `parse_include`."""
        ...

    def render_file(self, file: File) -> Json: ...

    def render_file_list(self, items: list[Json], more: bool) -> Json: ...

    def render_deleted_file(self, file_id: str) -> Json: ...

    def render_upload(self, upload: Upload, file: File | None) -> Json: ...

    def render_upload_part(self, part: UploadPart) -> Json: ...

    def render_list(self, items: list[Json], more: bool) -> Json: ...

    def render_deleted(self, object: DeletedObject, id: str) -> Json: ...
