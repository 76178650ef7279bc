"""The contract between the run loop and hosted tools.

The model sees a hosted tool as one function. When the model calls it, the run loop journals the call (started, with its
attempt), performs it here, and journals its result; the step, the stream and the next prompt are all made from the
result. Deltas go to watchers on this process while the call runs and never reach the log. A finished call is never
performed again. If the process dies, `after_crash` decides what happens to the call.

    perform(call)  ─▶ LogPiece, LogPiece, ImagePiece, …, ToolResult      the last item is the result

The loop stops a call (run cancelled, expired or failed, thread deleted, server stopping) by cancelling its reader and
closing the generator: `perform` must release its resources in `finally`, and must not swallow the cancellation. A tool
needs no time-out beyond its own settings, since a run expires. An exception of `perform` becomes an error that the
model reads, and the run continues; if the model can correct the error, the tool returns it as a result instead.

A tool imports neither events nor projections: it reaches files, stores and the database through small Protocols of its
own, which other modules implement and app.py connects.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Json = Mapping[str, Any]
ToolType = Literal["code_interpreter", "file_search"]
# The treatment of a call whose process died: perform it again as the next attempt, or report it to the model as lost.
CrashPolicy = Literal["again", "report"]

# Maximum length in characters of a result's text in a prompt. Longer texts are cut, with a note.
MAX_SEEN = 100_000
# Maximum numbers of files, images and citations of one result. The rest is dropped, and logged.
MAX_FILES = 100
MAX_CITATIONS = 500
# Maximum size in bytes of a call's outputs in its step. The loop cuts longer logs and drops the outputs behind them.
# code_interpreter prints at most 1 MiB, and a notice about the rest.
MAX_SHOWN = 1_048_576 + 4_096


class ToolUnusable(Exception):
    """The run cannot continue without the tool. It fails, and its last_error is this message."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


@dataclass(frozen=True, slots=True)
class HostedRun:
    """The run that a tool works for.

    `settings` is the run's entry for the tool, for example {"type": "file_search", "file_search": {…}}. Resources are
    in v2's shapes ({"code_interpreter": {"file_ids": […]}, "file_search": {"vector_store_ids": […]}}): those of the run
    (its assistant's, or the request's), and those of the thread at this moment, with its messages' attachments. `model`
    is the requested model name; `window` its context window in tokens.
    """

    project_id: str
    thread_id: str
    run_id: str
    model: str
    window: int
    settings: Json
    run_resources: Json
    thread_resources: Json


@dataclass(frozen=True, slots=True)
class HostedCall:
    """One attempt at one call.

    `arguments` is the JSON object that the model wrote, not checked against the schema (for code_interpreter always
    {"code": str}, the same text as the step's `input`). `number` counts the thread's hosted calls from 0, and is the
    same in every attempt. `room` is the number of characters of the result's text that fit into the prompt.
    """

    id: str
    run: HostedRun
    arguments: Json
    number: int
    attempt: int
    room: int


@dataclass(frozen=True, slots=True)
class LogPiece:
    """Text that is appended to `logs` output number `index` of a code_interpreter call."""

    index: int
    text: str


@dataclass(frozen=True, slots=True)
class ImagePiece:
    """A whole `image` output, number `index`, of a code_interpreter call."""

    index: int
    file_id: str


Piece = LogPiece | ImagePiece


@dataclass(frozen=True, slots=True)
class ProducedFile:
    """A file that the call created or changed. `path` is its path in the sandbox, for example /mnt/data/report.csv.

    It becomes an attachment of the run's next message, and `sandbox:` with its path becomes a file_path annotation in
    that and in later messages. Images that the call displayed are `image` outputs; a file can be both.
    """

    file_id: str
    path: str


@dataclass(frozen=True, slots=True)
class Citation:
    """A passage that the model may cite with `marker` (see `citation_markers`). `quote` is the quoted text."""

    marker: str
    file_id: str
    quote: str


@dataclass(frozen=True, slots=True)
class ToolResult:
    """The result of a call. `outputs` and `results` go to the step, in the API's shapes and without index:

    outputs   of code_interpreter: {"type": "logs", "logs": str} and {"type": "image", "image": {"file_id": str}}, the
              sum of the call's pieces; images among them go in front of the text of the run's next message
    results   of file_search: {"file_id", "file_name", "score", "attributes", "content": [{"type": "text", "text"}]};
              the wire leaves content out if include[] does not request it

    `text` goes to the model. `failed` counts the call as failed in metrics; the run continues. `refused` says that no
    part of the call was carried out, so it changed nothing.
    """

    text: str
    outputs: Sequence[Json] = ()
    results: Sequence[Json] = ()
    files: Sequence[ProducedFile] = field(default=())
    citations: Sequence[Citation] = field(default=())
    failed: bool = False
    refused: bool = False


class HostedTool(Protocol):
    """A tool that this server carries out. One object serves all runs; calls of different runs are concurrent."""

    @property
    def type(self) -> ToolType: ...

    @property
    def description(self) -> str:
        """The function's description, for the model."""
        ...

    @property
    def parameters(self) -> Json:
        """The JSON schema of the function's arguments: an object. Prompted models see its first `examples`."""
        ...

    @property
    def after_crash(self) -> CrashPolicy: ...

    @property
    def unavailable_reason(self) -> str | None:
        """Returns the reason why the tool cannot be used now, as a sentence for the run's last_error, or None if it
        can.
        """
        ...

    async def brief(self, run: HostedRun) -> str:
        """Returns additional instructions for the model before each call: files at hand, rules for citations. May be
        empty.

        The loop may cancel it. It may wait for a bounded time, for example for a store that is being indexed. Raises
        ToolUnusable if the run cannot continue; any other exception fails the run too.
        """
        ...

    def perform(self, call: HostedCall) -> AsyncGenerator[Piece | ToolResult, None]:
        """Carries out a call, as the module describes. Raises ToolUnusable if the run cannot continue."""
        ...
