"""Deltas: pieces of a model's text, of its tool calls and of a hosted tool's output while a call is in progress.

Deltas are not events and never reach the log. They name objects by ids that earlier events minted, and later events
hold the complete text. Their classes are not frozen, since a frozen one takes three times as long to construct, and
there is a delta for each token.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class MessageTextDelta:
    """A piece of the text that the open model call writes into its message, or of its refusal if `refusal` is set.

    If a piece has an `annotation`, its text is exactly the annotated text. `images` are the file ids of the image parts
    in front of the text; only the first piece of a message has them.
    """

    run_id: str
    message_id: str
    step_id: str
    created_at: int
    text: str
    refusal: bool = False
    annotation: dict[str, Any] | None = None
    images: tuple[str, ...] = ()

    @property
    def length(self) -> int:
        """The characters of its text."""
        return len(self.text)


@dataclass(slots=True)
class StepCallDelta:
    """A piece of tool call number `index` of the open model call. Only its first piece has `id` and `name`.

    `arguments` is a piece of a function's arguments or of code_interpreter's code. It is empty for file_search, whose
    {ranking_options} are in `search` of the first piece.
    """

    run_id: str
    step_id: str
    created_at: int
    index: int
    id: str | None
    name: str | None
    arguments: str
    kind: str = "function"
    search: dict[str, Any] | None = None

    @property
    def length(self) -> int:
        """The characters of its text."""
        return len(self.arguments)


@dataclass(slots=True)
class StepOutputDelta:
    """A piece of output number `index` of a running code_interpreter call: text for its logs, or an image's file id."""

    run_id: str
    step_id: str
    call_id: str
    attempt: int
    index: int
    logs: str | None
    image: str | None

    @property
    def length(self) -> int:
        """The characters of its text."""
        return len(self.logs or "")


Delta = MessageTextDelta | StepCallDelta | StepOutputDelta
