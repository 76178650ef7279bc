"""What a run needs of a hosted tool, and what it gives one: the contract between the run loop and the tools.

Theory. The model sees a hosted tool as one function. When it calls that, the run loop journals the call (started, with
its attempt), performs it here, and journals its result; the step, the stream and the next prompt all show what the
result says. Deltas go to watchers on this process while the call runs and never reach the log: the result
holds the whole. A finished call is never performed again. If the process dies, `after_crash` decides what happens.

    perform(call)  ─▶ LogPiece, LogPiece, ImagePiece, …, ToolResult      the last is the result, and ends it

The loop stops a call (run cancelled, expired or failed, thread deleted, server stopping) by cancelling whoever reads
and closing the generator: `perform` must let go of what it holds in `finally`, and must not swallow the cancellation.
It need not bound its own time otherwise than its settings say; a run expires. Whatever it raises becomes an error that
the model is told, and the run goes on; an error that the model could help with is better said in a result.

A tool imports neither events nor projections: what it needs of files, stores or the database comes in through small
Protocols of its own, implemented elsewhere and wired in app.py.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Json = Mapping[str, Any]
ToolType = Literal["code_interpreter", "file_search"]
# What becomes of a call whose process died: performed again, as the next attempt, or reported to the model as lost.
CrashPolicy = Literal["again", "report"]

# Characters of a result's text that the model is shown at most, whatever its window; longer ones are cut, with a note.
MAX_SEEN = 100_000
# Files, images and citations of one result; what is beyond is dropped, and logged.
MAX_FILES = 100
MAX_CITATIONS = 500
# Bytes of what a step shows of one call; the loop cuts longer logs and drops what comes behind.
MAX_SHOWN = 1_048_576


class ToolUnusable(Exception):
    """The run cannot go on without the tool: it fails, and its last_error is this message."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


@dataclass(frozen=True, slots=True)
class HostedRun:
    """The run that a tool works for.

    `settings` is the tool as the run has it, for example {"type": "file_search", "file_search": {…}}. Resources are in
    v2's shapes ({"code_interpreter": {"file_ids": […]}, "file_search": {"vector_store_ids": […]}}): those of the run
    (its assistant's, or the request's), and those of the thread as they are now, with its messages' attachments.
    `model` is the name that was asked for; `window` its context window in tokens.
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
    """One call, one attempt at it.

    `arguments` is the JSON object that the model wrote, not checked against the schema (for code_interpreter always
    {"code": str}, the same text as the step's `input`). `number` counts the thread's hosted calls from 0, and is the
    same in every attempt. `room` is how many characters of the result's text the model will be shown.
    """

    id: str
    run: HostedRun
    arguments: Json
    number: int
    attempt: int
    room: int


@dataclass(frozen=True, slots=True)
class LogPiece:
    """Text that goes on `logs` output number `index` of a code_interpreter call."""

    index: int
    text: str


@dataclass(frozen=True, slots=True)
class ImagePiece:
    """`image` output number `index` of a code_interpreter call, whole."""

    index: int
    file_id: str


Piece = LogPiece | ImagePiece


@dataclass(frozen=True, slots=True)
class ProducedFile:
    """A file that the call made or changed. `path` as the model names it, for example /mnt/data/report.csv.

    It goes to the attachments of the run's next message, and `sandbox:` and its path become a file_path annotation in
    that and in later messages. Images that the call displayed are `image` outputs instead; a file that is both is both.
    """

    file_id: str
    path: str


@dataclass(frozen=True, slots=True)
class Citation:
    """A passage that the model may cite with `marker` (see `citation_markers`); `quote` is the text it stands for."""

    marker: str
    file_id: str
    quote: str


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What came of a call. `outputs` and `results` are what the step shows, in the API's shapes and without index:

    outputs   of code_interpreter: {"type": "logs", "logs": str} and {"type": "image", "image": {"file_id": str}}, the
              same as its pieces add up to; images among them go in front of the text of the run's next message
    results   of file_search: {"file_id", "file_name", "score", "attributes", "content": [{"type": "text", "text"}]};
              the wire leaves content out where include[] does not ask for it

    `text` is what the model is told. `failed` counts the call as failed in metrics; the run goes on all the same.
    `refused` says that nothing of it was carried out: it changed nothing, wherever it was made.
    """

    text: str
    outputs: Sequence[Json] = ()
    results: Sequence[Json] = ()
    files: Sequence[ProducedFile] = field(default=())
    citations: Sequence[Citation] = field(default=())
    failed: bool = False
    refused: bool = False


class HostedTool(Protocol):
    """A tool that this server carries out. One object serves all runs; calls of different runs come at once."""

    @property
    def type(self) -> ToolType: ...

    @property
    def description(self) -> str:
        """The function's description, for the model."""
        ...

    @property
    def parameters(self) -> Json:
        """The JSON schema of the function's arguments: an object. Prompted models are shown its first `examples`."""
        ...

    @property
    def after_crash(self) -> CrashPolicy: ...

    @property
    def off(self) -> str | None:
        """Why the tool cannot be used here, now, as a sentence for the run's last_error; None where it can."""
        ...

    async def brief(self, run: HostedRun) -> str:
        """What the model is told besides, before each model call: files at hand, how to cite. Empty for nothing.

        The loop may cancel it. It may wait (for a store that is being indexed, say), for a bounded time. Raises
        ToolUnusable where the run cannot go on; anything else that it raises fails the run too.
        """
        ...

    def perform(self, call: HostedCall) -> AsyncGenerator[Piece | ToolResult, None]:
        """Carries out a call. See the module's theory. Raises ToolUnusable where the run cannot go on."""
        ...
