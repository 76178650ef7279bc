"""What a model call says, and a hosted tool brings, while it is at work: items that are not events.

They name objects by the ids that events minted before, and never reach the log; the events that follow say the same,
whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class LiveText:
    """A piece of the text (or, with `refusal`, of the refusal) that the open model call writes into its message.

    A piece with an `annotation` is the text that it annotates, and nothing else. `images` are file ids of the parts in
    front of the text; they come with the message's first piece.
    """

    run_id: str
    message_id: str
    step_id: str
    created_at: int
    text: str
    refusal: bool = False
    annotation: dict[str, Any] | None = None
    images: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LiveCall:
    """A piece of tool call number `index` of the open model call; `id` and `name` come with its first piece only.

    `arguments` are a piece of a function's arguments, of code_interpreter's code, and nothing of a file_search's, whose
    {ranking_options} come in `search` with its first piece.
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


@dataclass(frozen=True, slots=True)
class LiveOutput:
    """A piece of output number `index` of a code_interpreter call at work: text that goes on its logs, or an image."""

    run_id: str
    step_id: str
    call_id: str
    attempt: int
    index: int
    logs: str | None
    image: str | None


Live = LiveText | LiveCall | LiveOutput
