"""Events of the installation's stream about how long threads are kept: policies of projects, and legal holds."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from events.envelope import Event


def _is_none(value: object) -> bool:
    return value is None


class RetentionSet(Event):
    """From here on, threads of the project that were idle for `idle_days` are deleted, and the contents of a deleted
    thread are kept until `keep_days` after its last event before the deletion. Null if the rule does not apply.
    """

    type: Literal["retention.set"] = "retention.set"
    project_id: str
    idle_days: int | None
    keep_days: int | None


class HoldPlaced(Event):
    """A legal hold: the contents of the threads that it covers are not destroyed until `hold.ended`.

    It covers one thread, or the threads of the project that have, or ever had, all pairs of `metadata`, or all threads
    of the project if both are absent.
    """

    type: Literal["hold.placed"] = "hold.placed"
    hold_id: str
    project_id: str
    reason: str
    thread_id: str | None = Field(None, exclude_if=_is_none)
    metadata: dict[str, str] | None = Field(None, exclude_if=_is_none)


class HoldEnded(Event):
    """Threads that this hold alone has kept are erased within an hour."""

    type: Literal["hold.ended"] = "hold.ended"
    hold_id: str
    project_id: str


RetentionEvent = RetentionSet | HoldPlaced | HoldEnded
