"""What a run needs of a language model, and nothing more.

A model call is one chat completion, streamed. The executor consumes `ModelEvent`s in batches (one batch a network
read, so that a hot loop pays per read and not per token), and sees every failure as a `ModelError`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

Json = Mapping[str, Any]
FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]
# Whether a model calls tools by itself; if not, it may be made to by prompt and schema (`prompted`).
ToolSupport = bool | Literal["prompted"]
ErrorCode = Literal["rate_limit_exceeded", "server_error", "invalid_prompt"]


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One chat completion. `model` is the name the client asked for; the catalogue maps it to an upstream's.

    `messages`, `tools`, `tool_choice` and `response_format` have the shapes of the chat completions API.
    `max_completion_tokens` counts tokens; None leaves the limit to the upstream.
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


@dataclass(frozen=True, slots=True)
class ModelUsage:
    """Tokens of one call, as the upstream counted them."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    reasoning_tokens: int = 0


@dataclass(frozen=True, slots=True)
class TextDelta:
    text: str


@dataclass(frozen=True, slots=True)
class RefusalDelta:
    text: str


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A piece of the call at `index`; `id` and `name` come once, with its first piece."""

    index: int
    id: str | None
    name: str | None
    arguments: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The last event of every stream that did not fail. `usage` is None where the upstream gave none."""

    reason: FinishReason
    usage: ModelUsage | None
    model: str


ModelEvent = TextDelta | RefusalDelta | ToolCallDelta | Finished


class ModelError(Exception):
    """A model call failed for good: retries, where they made sense, are used up.

    `code` is what the run's last_error says; `message` tells the real cause and holds no key.
    """

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code: ErrorCode = code
        self.message = message


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What the catalogue knows of a model.

    `context_window` in tokens. `encoding` is tiktoken's; `margin` ≥ 1 is what a foreign tokenizer may be off by.
    """

    upstream_name: str
    context_window: int
    encoding: str
    margin: float
    vision: bool
    tools: ToolSupport


@runtime_checkable
class Model(Protocol):
    """A model, or many behind one catalogue."""

    def stream(self, request: ChatRequest) -> AsyncGenerator[Sequence[ModelEvent], None]:
        """Streams one call. Closing the generator, or cancelling its reader, stops the call at the upstream.

        Raises ModelError; `Finished` ends every stream that does not raise.
        """
        ...

    def info(self, model: str) -> ModelInfo:
        """What is known of the model that serves this name."""
        ...

    async def prepare(self, model: str) -> None:
        """Loads, in a thread and once, the token data that `count` needs for this model."""
        ...

    def count(self, model: str, text: str) -> int:
        """Tokens of `text` for this model, the safety margin included.

        Blocks (0.2–0.5 s, once an encoding) where `prepare` was not awaited before.
        """
        ...

    def at_most(self, model: str, text: str) -> int:
        """An upper bound of `count` that costs nothing and needs no token data: bytes, the margin included."""
        ...

    async def healthy(self) -> str | None:
        """None where the default upstream answers, else one line that says why not."""
        ...
