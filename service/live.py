"""What a model call says while it streams: items that are not events.

They name objects by the ids that `ModelCallStarted` minted, and never reach the log; the events that follow say the
same, whole.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LiveText:
    """A piece of the text (or, with `refusal`, of the refusal) that the open model call writes into its message."""

    run_id: str
    message_id: str
    step_id: str
    created_at: int
    text: str
    refusal: bool = False


@dataclass(frozen=True, slots=True)
class LiveCall:
    """A piece of tool call number `index` of the open model call; `id` and `name` come with its first piece only."""

    run_id: str
    step_id: str
    created_at: int
    index: int
    id: str | None
    name: str | None
    arguments: str


Live = LiveText | LiveCall
