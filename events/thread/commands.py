"""What can be asked of a thread. Ids come in with the command, so that deciding is pure and a retry asks for the same.

Commands of executors carry the `epoch` of the claim they act under. Facts that the state does not hold (an older
message's role, a past run's status) are read from views by the caller, at the version the command is decided on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from events.objects import RunStatus
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
    """The ids that a model call may bring into being."""

    message_id: str
    message_step_id: str
    tool_step_id: str


@dataclass(frozen=True, slots=True)
class Claim:
    """A process's readiness to work on a run at once. With `first_call` the work starts in the same append."""

    process: int
    first_call: CallIds | None


@dataclass(frozen=True, slots=True)
class CreateThread:
    metadata: Mapping[str, str]
    tool_resources: Mapping[str, Any]
    messages: Sequence[NewMessage]


@dataclass(frozen=True, slots=True)
class ModifyThread:
    changes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class DeleteThread:
    pass


@dataclass(frozen=True, slots=True)
class AddMessage:
    """`queue`: taken while a run is active too; that run's prompt leaves it out."""

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
    """`role` is a fact of the messages view: null where there is no such message."""

    message_id: str
    role: e.Role | None


@dataclass(frozen=True, slots=True)
class RunSettings:
    """A run's settings, whole: the assistant's, with what the request overrides."""

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


@dataclass(frozen=True, slots=True)
class CreateRun:
    """A run and the messages that come before it: one append, so that a refused run leaves nothing.

    `lifetime` in seconds. `thread` makes the thread first, in the same append (POST /threads/runs). `queue`: where
    another run is active, this one waits for its turn.
    """

    run_id: str
    settings: RunSettings
    messages: Sequence[NewMessage]
    lifetime: int
    claim: Claim | None
    thread: CreateThread | None = None
    queue: bool = False


@dataclass(frozen=True, slots=True)
class ModifyRun:
    """`status` is a fact of the runs view: null where there is no such run."""

    run_id: str
    status: RunStatus | None
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class SubmitToolOutputs:
    """`status` as in ModifyRun. `outputs` in the order given."""

    run_id: str
    status: RunStatus | None
    outputs: Sequence[e.ToolOutput]
    claim: Claim | None


@dataclass(frozen=True, slots=True)
class CancelRun:
    """`status` as in ModifyRun. `claim` is for the run that waits behind it, if this one ends at once."""

    run_id: str
    status: RunStatus | None
    claim: Claim | None = None


@dataclass(frozen=True, slots=True)
class ExpireRun:
    """Nothing happens where the run has ended or is not overdue. `claim` is for the run that waits behind it."""

    run_id: str
    claim: Claim | None = None


@dataclass(frozen=True, slots=True)
class ClaimRun:
    """A process takes a run that has none, or whose process died: `dead` names the process the taker saw gone."""

    run_id: str
    process: int
    dead: int | None


@dataclass(frozen=True, slots=True)
class PartialReply:
    """What a model call had said when it ended: whole tool calls are [{id, name, arguments}] in order.

    A hosted tool's call has its `type` besides, and a file_search {ranking_options} under its name. `annotations` are
    the text's; `images` (file ids) and `attachments` are what the run's tools made for this message.
    """

    text: str = ""
    refusal: str = ""
    tool_calls: Sequence[Mapping[str, Any]] = ()
    annotations: Sequence[Mapping[str, Any]] = ()
    images: Sequence[str] = ()
    attachments: Sequence[Mapping[str, Any]] = ()

    @property
    def empty(self) -> bool:
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
    said: PartialReply
    finish_reason: Literal["stop", "length", "tool_calls", "content_filter"]
    model: str
    usage: e.Usage


@dataclass(frozen=True, slots=True)
class BreakModelCall:
    """The call failed. What clients saw of it (`said`) becomes an incomplete message."""

    run_id: str
    epoch: int
    said: PartialReply
    error: e.LastError
    usage: e.Usage


@dataclass(frozen=True, slots=True)
class StartToolCall:
    """The next hosted call of the open step, or the next attempt at the open one."""

    run_id: str
    epoch: int


@dataclass(frozen=True, slots=True)
class FinishToolCall:
    """What came of the open hosted call. `functions` are the step's calls that the client must carry out, as
    required_action shows them: a fact of the steps view.
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
    """`shown` is what watchers had seen of the open hosted call."""

    run_id: str
    epoch: int
    error: e.LastError
    shown: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class StopRun:
    """The executor stopped: the run is cancelling, or its time is up.

    `said` and `usage` are of the open model call, `shown` is what watchers had seen of the open hosted call.
    """

    run_id: str
    epoch: int
    said: PartialReply
    usage: e.Usage
    shown: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class ExhaustRun:
    """A token budget is used up before the next model call."""

    run_id: str
    epoch: int
    reason: e.RunIncompleteReason


LifeCommand = CreateThread | ModifyThread | DeleteThread
MessageCommand = AddMessage | ModifyMessage | DeleteMessage
ClientRunCommand = CreateRun | ModifyRun | SubmitToolOutputs | CancelRun
ModelCallCommand = StartModelCall | FinishModelCall | BreakModelCall
ExecutorCommand = ModelCallCommand | StartToolCall | FinishToolCall | FailRun | StopRun | ExhaustRun
SupervisorCommand = ExpireRun | ClaimRun
ThreadCommand = LifeCommand | MessageCommand | ClientRunCommand | ExecutorCommand | SupervisorCommand
