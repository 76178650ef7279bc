"""The commands of a thread. They contain the ids of the objects they create, so that deciding is pure.

Commands of executors carry the `epoch` of their claim. A fact that the state does not hold (an older message's role, a
past run's status) is read from a view by the caller, at the version of the stream that the command is decided on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from events.objects import Message, Run, RunStatus, Step
from events.provenance import Provenance
from events.thread import events as e


@dataclass(frozen=True, slots=True)
class NewMessage:
    id: str
    role: e.Role
    content: Sequence[Mapping[str, Any]]
    attachments: Sequence[Mapping[str, Any]]
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class CallIds:
    """The ids of the objects that a model call may create."""

    message_id: str
    message_step_id: str
    tool_step_id: str


@dataclass(frozen=True, slots=True)
class Claim:
    """A process that can work on a run at once. With `first_call` the first model call starts in the same append."""

    process: int
    first_call: CallIds | None


@dataclass(frozen=True, slots=True)
class CreateThread:
    metadata: Mapping[str, str]
    tool_resources: Mapping[str, Any]
    messages: Sequence[NewMessage]


@dataclass(frozen=True, slots=True)
class ImportThread:
    """Creates a thread with objects from elsewhere, in the order in which they were created. Their thread_id does not
    count.

    Runs and steps must have ended. A run comes before its messages and steps. `origin` is that of a fork;
    `provenance` is set if the thread comes from another server.
    """

    metadata: Mapping[str, str]
    tool_resources: Mapping[str, Any]
    origin: e.ThreadOrigin | None
    objects: Sequence[Message | Run | Step]
    provenance: Provenance | None = None


@dataclass(frozen=True, slots=True)
class ForkThread:
    """Records that a fork of the thread as of `version` is about to be created."""

    fork_id: str
    version: int


@dataclass(frozen=True, slots=True)
class ModifyThread:
    changes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class DeleteThread:
    pass


@dataclass(frozen=True, slots=True)
class AddMessage:
    """With `queue` the message is accepted while a run is active, and left out of that run's prompt."""

    message: NewMessage
    queue: bool = False


@dataclass(frozen=True, slots=True)
class ModifyMessage:
    """`exists` is a fact of the messages view."""

    message_id: str
    exists: bool
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class DeleteMessage:
    """`role` is a fact of the messages view, null if the message does not exist."""

    message_id: str
    role: e.Role | None


@dataclass(frozen=True, slots=True)
class RunSettings:
    """All settings of a run: those of the assistant, and those that the request overrides.

    `explicit_defaults` names the settings that were set to their default value.
    """

    assistant_id: str
    model: str
    instructions: str | None
    tools: Sequence[Mapping[str, Any]]
    tool_resources: Mapping[str, Any]
    metadata: Mapping[str, str]
    temperature: float | None
    top_p: float | None
    reasoning_effort: str | None
    response_format: str | Mapping[str, Any]
    tool_choice: str | Mapping[str, Any]
    parallel_tool_calls: bool
    truncation_strategy: Mapping[str, Any]
    max_prompt_tokens: int | None
    max_completion_tokens: int | None
    explicit_defaults: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class CreateRun:
    """Creates a run, and the messages before it in the same append, so that a refused run leaves no messages behind.

    `lifetime` is in seconds. `thread` creates the thread in the same append too (POST /threads/runs). With `queue` the
    run waits for its turn if another run is active; with `interrupt` that run, and those that wait, are cancelled.
    `allows_empty_prompt` accepts a run with neither a user message nor
    instructions.
    """

    run_id: str
    settings: RunSettings
    messages: Sequence[NewMessage]
    lifetime: int
    claim: Claim | None
    thread: CreateThread | None = None
    queue: bool = False
    interrupt: bool = False
    allows_empty_prompt: bool = False


@dataclass(frozen=True, slots=True)
class ModifyRun:
    """`status` is a fact of the runs view, null if the run does not exist."""

    run_id: str
    status: RunStatus | None
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ReviewRun:
    """`status` as in ModifyRun. Either `rating` or `note` may be None."""

    run_id: str
    status: RunStatus | None
    rating: e.Rating | None
    note: str | None


@dataclass(frozen=True, slots=True)
class SubmitToolOutputs:
    """`status` as in ModifyRun."""

    run_id: str
    status: RunStatus | None
    outputs: Sequence[e.ToolOutput]
    claim: Claim | None


@dataclass(frozen=True, slots=True)
class CancelRun:
    """`status` as in ModifyRun. `claim` is for the run that waits behind this one, if this one ends at once."""

    run_id: str
    status: RunStatus | None
    claim: Claim | None = None


@dataclass(frozen=True, slots=True)
class ExpireRun:
    """Does nothing if the run has ended or is not overdue. `claim` is for the run that waits behind it."""

    run_id: str
    claim: Claim | None = None


@dataclass(frozen=True, slots=True)
class ClaimRun:
    """Claims a run that no living process holds.

    `dead` is the process that held the run, or null if none did; if another process holds it now, nothing happens.
    """

    run_id: str
    process: int
    dead: int | None


@dataclass(frozen=True, slots=True)
class PartialReply:
    """The part of a model's reply that was received when its call ended. Only whole tool calls are in it.

    `tool_calls` are [{id, name, arguments}] in order; `upstream_id` is the model server's own id of a call, if it has
    one, and `upstream_fields` and `message_fields` are those of `StepCreated`. A hosted tool's call also has its
    `type`, and a file_search call the {ranking_options} under `file_search`.
    `annotations` are those of the text. `images` (file ids) and `attachments` are files that the run's tools made for
    this message.
    """

    text: str = ""
    refusal: str = ""
    tool_calls: Sequence[Mapping[str, Any]] = ()
    annotations: Sequence[Mapping[str, Any]] = ()
    images: Sequence[str] = ()
    attachments: Sequence[Mapping[str, Any]] = ()

    @property
    def is_empty(self) -> bool:
        """Whether the reply has neither text nor a refusal nor a tool call."""
        return not (self.text or self.refusal or self.tool_calls)


@dataclass(frozen=True, slots=True)
class StartModelCall:
    run_id: str
    epoch: int
    ids: CallIds


@dataclass(frozen=True, slots=True)
class FinishModelCall:
    run_id: str
    epoch: int
    reply: PartialReply
    finish_reason: Literal["stop", "length", "tool_calls", "content_filter"]
    model: str
    usage: e.Usage
    prompt: e.PromptRecord | None = None


@dataclass(frozen=True, slots=True)
class BreakModelCall:
    """The call failed. If clients saw a part of the reply, it becomes an incomplete message."""

    run_id: str
    epoch: int
    reply: PartialReply
    error: e.LastError
    usage: e.Usage
    prompt: e.PromptRecord | None = None


@dataclass(frozen=True, slots=True)
class StartToolCall:
    """Starts the next hosted call of the open step, or the next attempt at the open call."""

    run_id: str
    epoch: int


@dataclass(frozen=True, slots=True)
class FinishToolCall:
    """The result of the open hosted call.

    `functions` are the step's calls that the client must carry out, as required_action shows them: a fact of the steps
    view.
    """

    run_id: str
    epoch: int
    call_id: str
    attempt: int
    outcome: Literal["finished", "failed", "lost", "refused"]
    shown: Mapping[str, Any]
    output: str
    files: Sequence[e.ToolFile] = ()
    citations: Sequence[e.ToolCitation] = ()
    functions: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, slots=True)
class FailRun:
    """`shown` is the part of the open hosted call that clients had seen."""

    run_id: str
    epoch: int
    error: e.LastError
    shown: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class StopRun:
    """The executor stopped because the run is cancelling or its time is up.

    `reply`, `usage` and `prompt` are those of the open model call; `shown` is the part of the open hosted call that
    clients had seen.
    """

    run_id: str
    epoch: int
    reply: PartialReply
    usage: e.Usage
    shown: Mapping[str, Any] | None = None
    prompt: e.PromptRecord | None = None


@dataclass(frozen=True, slots=True)
class ExhaustRun:
    """A token budget is used up before the next model call."""

    run_id: str
    epoch: int
    reason: e.RunIncompleteReason


@dataclass(frozen=True, slots=True)
class ReleaseRun:
    """The executor stops in order, because its process stops."""

    run_id: str
    epoch: int


LifeCommand = CreateThread | ImportThread | ForkThread | ModifyThread | DeleteThread
MessageCommand = AddMessage | ModifyMessage | DeleteMessage
ClientRunCommand = CreateRun | ModifyRun | ReviewRun | SubmitToolOutputs | CancelRun
ModelCallCommand = StartModelCall | FinishModelCall | BreakModelCall
ExecutorCommand = ModelCallCommand | StartToolCall | FinishToolCall | FailRun | StopRun | ExhaustRun | ReleaseRun
SupervisorCommand = ExpireRun | ClaimRun
ThreadCommand = LifeCommand | MessageCommand | ClientRunCommand | ExecutorCommand | SupervisorCommand
