"""The events of a thread: one stream holds its messages, runs, steps and tool calls.

Types are named `object.verb`. Times are those of the envelope unless a field says otherwise; `*_at` fields are whole
seconds since the epoch. JSON shapes (content, tools, tool_calls, tool_resources) are those of the API, in the superset
of v1 and v2.
"""

from __future__ import annotations

from operator import not_
from typing import Literal

from pydantic import Field

from events.envelope import Event, JsonObject
from events.provenance import Provenance
from events.thread.import_events import MessageImported as MessageImported
from events.thread.import_events import RunImported as RunImported
from events.thread.import_events import StepImported as StepImported
from events.thread.import_events import ThreadForked as ThreadForked
from events.thread.import_events import ThreadOrigin as ThreadOrigin
from events.thread.prompt_record import DroppedHistory as DroppedHistory
from events.thread.prompt_record import PromptRecord as PromptRecord
from events.thread.prompt_record import RequestRetry as RequestRetry
from events.thread.tool_events import ToolCallFinished as ToolCallFinished
from events.thread.tool_events import ToolCallStarted as ToolCallStarted
from events.thread.tool_events import ToolCallStopped as ToolCallStopped
from events.thread.tool_events import ToolCitation as ToolCitation
from events.thread.tool_events import ToolFile as ToolFile

Metadata = dict[str, str]
Role = Literal["user", "assistant"]
MessageStatus = Literal["completed", "incomplete"]
IncompleteReason = Literal["content_filter", "max_tokens", "run_cancelled", "run_expired", "run_failed"]
StepEnd = Literal["completed", "cancelled", "failed", "expired"]
RunIncompleteReason = Literal["max_completion_tokens", "max_prompt_tokens", "content_filter"]


class Usage(Event):
    """Tokens as the model server counted them, or as tiktoken counts them if the server reports no usage."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            reasoning_tokens=self.reasoning_tokens + other.reasoning_tokens,
        )


class LastError(Event):
    code: Literal["server_error", "rate_limit_exceeded", "invalid_prompt"]
    message: str


class ToolOutput(Event):
    tool_call_id: str
    output: str


def _is_none(value: object) -> bool:
    return value is None


# How good the answer of a run was, in the words of a client.
Rating = Literal["good", "bad"]


class ThreadCreated(Event):
    """`origin` is the thread that a fork was made from; absent if the thread is no fork.

    The vector stores of a fork's `tool_resources` are those of its origin: the fork never changes them.
    """

    type: Literal["thread.created"] = "thread.created"
    metadata: Metadata
    tool_resources: JsonObject
    origin: ThreadOrigin | None = Field(None, exclude_if=_is_none)
    provenance: Provenance | None = Field(None, exclude_if=_is_none)


class ThreadModified(Event):
    """`changes` holds the fields that the request named: `metadata`, `tool_resources`."""

    type: Literal["thread.modified"] = "thread.modified"
    changes: JsonObject


class ThreadDeleted(Event):
    type: Literal["thread.deleted"] = "thread.deleted"


class MessageAdded(Event):
    """A client wrote a message. Runs write theirs with `message.written`."""

    type: Literal["message.added"] = "message.added"
    message_id: str
    role: Role
    content: list[JsonObject]
    attachments: list[JsonObject]
    metadata: Metadata


class MessageWritten(Event):
    """A run wrote a message. `content` is the whole text, or the text so far if the message ended early.

    `created_at` is the time when its model call started, since streams showed the message from then on.
    """

    type: Literal["message.written"] = "message.written"
    message_id: str
    run_id: str
    assistant_id: str
    content: list[JsonObject]
    status: MessageStatus
    incomplete_reason: IncompleteReason | None
    created_at: int
    # Files that the run's tools made. Absent if there are none, since older events lack the field.
    attachments: list[JsonObject] = Field(default=[], exclude_if=not_)


class MessageModified(Event):
    type: Literal["message.modified"] = "message.modified"
    message_id: str
    metadata: Metadata


class MessageDeleted(Event):
    type: Literal["message.deleted"] = "message.deleted"
    message_id: str
    role: Role


class RunCreated(Event):
    """A run was created, with its settings from the assistant and the request. Later events do not change the settings.

    `expires_at` is null if the run waits for other runs of its thread. Then `run.admitted` sets it, from `lifetime` in
    seconds. `explicit_defaults` names the settings that a client set to their default value; a setting with its default
    value that is not among them was not set.
    """

    type: Literal["run.created"] = "run.created"
    run_id: str
    assistant_id: str
    model: str
    instructions: str | None
    tools: list[JsonObject]
    tool_resources: JsonObject
    metadata: Metadata
    temperature: float | None
    top_p: float | None
    reasoning_effort: str | None
    response_format: str | JsonObject
    tool_choice: str | JsonObject
    parallel_tool_calls: bool
    truncation_strategy: JsonObject
    max_prompt_tokens: int | None
    max_completion_tokens: int | None
    expires_at: int | None
    lifetime: int | None = Field(None, exclude_if=_is_none)
    explicit_defaults: list[str] = Field(default=[], exclude_if=not_)


class RunAdmitted(Event):
    """The run waited for other runs of its thread and is now the active one. Its time begins."""

    type: Literal["run.admitted"] = "run.admitted"
    run_id: str
    expires_at: int


class RunModified(Event):
    type: Literal["run.modified"] = "run.modified"
    run_id: str
    metadata: Metadata


class RunReviewed(Event):
    """A client rated the run, or left a note about it, or both. Of several ratings of a run the newest one counts."""

    type: Literal["run.reviewed"] = "run.reviewed"
    run_id: str
    rating: Rating | None
    note: str | None


class RunClaimed(Event):
    """A process claimed the run. `epoch` counts the claims; commands of earlier epochs are refused."""

    type: Literal["run.claimed"] = "run.claimed"
    run_id: str
    epoch: int
    process: int


class RunReleased(Event):
    """The process of the run stopped in order and gave the run back, so that another process claims it at once.

    An attempt at a call that was open then does not count as one whose process died.
    """

    type: Literal["run.released"] = "run.released"
    run_id: str
    epoch: int


class RunQueued(Event):
    """The run waits for a process again, since its tool outputs were submitted."""

    type: Literal["run.queued"] = "run.queued"
    run_id: str


class RunStarted(Event):
    type: Literal["run.started"] = "run.started"
    run_id: str


class ModelCallStarted(Event):
    """Call number `call` of the run started, as attempt number `attempt`.

    The ids are those of the message and the steps that the call may create.
    """

    type: Literal["model_call.started"] = "model_call.started"
    run_id: str
    call: int
    attempt: int
    message_id: str
    message_step_id: str
    tool_step_id: str


class ModelCallFinished(Event):
    """The call's answer is complete. `prompt` is the record of its request; older events lack the field."""

    type: Literal["model_call.finished"] = "model_call.finished"
    run_id: str
    call: int
    attempt: int
    finish_reason: Literal["stop", "length", "tool_calls", "content_filter"]
    model: str
    usage: Usage
    prompt: PromptRecord | None = Field(None, exclude_if=_is_none)


class ModelCallFailed(Event):
    """The call failed. `shown` says that clients had seen a part of its answer, so the next attempt gets new ids.

    `usage` counts the tokens received until then. `prompt` is the record of its request, null if none was sent.
    """

    type: Literal["model_call.failed"] = "model_call.failed"
    run_id: str
    call: int
    attempt: int
    error: LastError
    shown: bool
    usage: Usage
    prompt: PromptRecord | None = Field(None, exclude_if=_is_none)


class ModelCallStopped(Event):
    """The server stopped the call, since the run was cancelled or expired, or its thread was deleted.

    `usage` counts the tokens received until then. `prompt` is the record of its request, null if it is unknown.
    """

    type: Literal["model_call.stopped"] = "model_call.stopped"
    run_id: str
    call: int
    attempt: int
    usage: Usage
    prompt: PromptRecord | None = Field(None, exclude_if=_is_none)


class StepCreated(Event):
    """A step was created: with `message_id` for a message_creation, with `tool_calls` ([{id, type, function}]) for
    tool_calls.

    `function` is the function that the model called, for hosted tools too; a file_search call also has its
    {ranking_options}. `upstream_id` of a call is the model server's own id of it, which later prompts contain.
    `upstream_fields` of a call, and `message_fields` of the first call, are further fields of the call and of its
    message that the server wants back, such as the signature of its thoughts. `usage` is that of the model call that
    created the step, unless an earlier step of the call has it.
    """

    type: Literal["step.created"] = "step.created"
    run_id: str
    step_id: str
    assistant_id: str
    kind: Literal["message_creation", "tool_calls"]
    message_id: str | None
    tool_calls: list[JsonObject]
    created_at: int
    expires_at: int
    usage: Usage


class StepEnded(Event):
    type: Literal["step.ended"] = "step.ended"
    run_id: str
    step_id: str
    status: StepEnd
    ended_at: int
    last_error: LastError | None
    usage: Usage


class ToolOutputsSubmitted(Event):
    type: Literal["tool_outputs.submitted"] = "tool_outputs.submitted"
    run_id: str
    step_id: str
    outputs: list[ToolOutput]


class RunRequiresAction(Event):
    """`tool_calls` are the functions whose outputs the client must submit, in the shape of required_action."""

    type: Literal["run.requires_action"] = "run.requires_action"
    run_id: str
    tool_calls: list[JsonObject]


class RunCancelling(Event):
    type: Literal["run.cancelling"] = "run.cancelling"
    run_id: str


class RunCancelled(Event):
    type: Literal["run.cancelled"] = "run.cancelled"
    run_id: str
    usage: Usage


class RunCompleted(Event):
    type: Literal["run.completed"] = "run.completed"
    run_id: str
    usage: Usage


class RunIncomplete(Event):
    type: Literal["run.incomplete"] = "run.incomplete"
    run_id: str
    reason: RunIncompleteReason
    usage: Usage


class RunFailed(Event):
    type: Literal["run.failed"] = "run.failed"
    run_id: str
    error: LastError
    usage: Usage


class RunExpired(Event):
    """`expired_at` is the run's expires_at, however late a process appended this event.

    `error` says what the run waited for if that was the model server or a hosted tool.
    """

    type: Literal["run.expired"] = "run.expired"
    run_id: str
    expired_at: int
    usage: Usage
    error: LastError | None = Field(None, exclude_if=_is_none)


RunEvent = (
    RunCreated
    | RunAdmitted
    | RunModified
    | RunReviewed
    | RunClaimed
    | RunReleased
    | RunQueued
    | RunStarted
    | RunRequiresAction
    | RunCancelling
    | RunCancelled
    | RunCompleted
    | RunIncomplete
    | RunFailed
    | RunExpired
)
RunEnd = RunCancelled | RunCompleted | RunIncomplete | RunFailed | RunExpired
StepEvent = StepCreated | StepEnded | ToolOutputsSubmitted
ToolCallEvent = ToolCallStarted | ToolCallFinished | ToolCallStopped
ModelCallEvent = ModelCallStarted | ModelCallFinished | ModelCallFailed | ModelCallStopped
MessageEvent = MessageAdded | MessageWritten | MessageModified | MessageDeleted
ImportEvent = MessageImported | RunImported | StepImported
LifeEvent = ThreadCreated | ThreadModified | ThreadDeleted | ThreadForked
ThreadEvent = LifeEvent | ImportEvent | MessageEvent | RunEvent | StepEvent | ModelCallEvent | ToolCallEvent
