"""The Protocol of language models, as runs use it.

A model call is one streamed chat completion, the *model stream*. The executor consumes `ModelEvent`s in batches (one
batch for each network read, so that a hot loop pays per read and not per token), and receives every failure as a
`ModelError`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from service.model.request_journal import RequestJournal

Json = Mapping[str, Any]
FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]
# Whether a model calls tools natively. "prompted": it does so by a prompt and a schema (`tool_prompt`).
ToolSupport = bool | Literal["prompted"]
ModelErrorCode = Literal["rate_limit_exceeded", "server_error", "invalid_prompt"]


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A chat completion. `model` is the client's name for the model; the catalogue maps it to the upstream's name.

    `messages`, `tools`, `tool_choice` and `response_format` have the shapes of the chat completions API.
    `max_completion_tokens` is a number of tokens; if it is None, the upstream chooses the limit. The client notes in
    `journal` what it sends.
    """

    model: str
    messages: Sequence[Json]
    tools: Sequence[Json] = ()
    tool_choice: str | Json | None = None
    parallel_tool_calls: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    response_format: Json | None = None
    reasoning_effort: str | None = None
    max_completion_tokens: int | None = None
    journal: RequestJournal | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class ModelUsage:
    """The tokens of one call, as the upstream counted them."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    reasoning_tokens: int = 0


@dataclass(slots=True)
class TextDelta:
    """A piece of the text. It is not frozen, so that it is constructed quickly: there is one for each token."""

    text: str


@dataclass(frozen=True, slots=True)
class RefusalDelta:
    text: str


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A piece of the call at `index`. Only the first piece of a call has `id` and `name`."""

    index: int
    id: str | None
    name: str | None
    arguments: str


@dataclass(frozen=True, slots=True)
class ModelStreamEnd:
    """The last event of every model stream that does not fail. `usage` is None if the upstream reported none.

    `message_fields` are fields of the message that the upstream may want back with its tool calls, and `call_fields`
    those of calls by their indexes (`service.model.kept_fields`).
    """

    reason: FinishReason
    usage: ModelUsage | None
    model: str
    message_fields: Json = field(default_factory=dict)
    call_fields: Mapping[int, Json] = field(default_factory=dict)


ModelEvent = TextDelta | RefusalDelta | ToolCallDelta | ModelStreamEnd


class ModelError(Exception):
    """A model call failed, and no retry is left or would help.

    `code` is the code of the run's last_error; `message` states the cause and never contains a key.
    """

    def __init__(self, code: ModelErrorCode, message: str) -> None:
        super().__init__(message)
        self.code: ModelErrorCode = code
        self.message = message


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """The catalogue's facts about a model.

    `context_window` is in tokens. `encoding` is the name of a tiktoken encoding; `margin` ≥ 1 is the factor by which
    the model's own tokenizer may count more tokens than that encoding.
    """

    upstream_name: str
    context_window: int
    encoding: str
    margin: float
    vision: bool
    tools: ToolSupport


@runtime_checkable
class Model(Protocol):
    """A language model, or several behind one catalogue."""

    def stream(self, request: ChatRequest) -> AsyncGenerator[Sequence[ModelEvent], None]:
        """Streams one call in batches of events. If the generator is closed or cancelled, the upstream stops too.

        Raises ModelError; every stream that does not raise ends with `ModelStreamEnd`.
        """
        ...

    def info(self, model: str) -> ModelInfo:
        """Returns the facts about the model that serves this name."""
        ...

    async def prepare(self, model: str) -> None:
        """Starts the process that counts tokens unless it runs, and loads the vocabulary of this model there."""
        ...

    def count_tokens(self, model: str, text: str) -> int:
        """Returns the number of tokens of `text` for this model, including the safety margin.

        It blocks until another process has counted them, so call it in a thread. Without a preceding `prepare`, the
        first call for an encoding takes 0.5 s and more.
        """
        ...

    def token_bound(self, model: str, text: str) -> int:
        """Returns an upper bound of `count_tokens` from the number of bytes, without loading token data."""
        ...

    async def check_health(self) -> str | None:
        """Returns None if the default upstream answers, otherwise one line with the reason."""
        ...
