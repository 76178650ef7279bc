"""The tokens of model calls, for reports of usage and costs.

No append writes these rows: a follower reads the log in the order of its indexes (`service/usage/follower.py`). They
stay when their thread is deleted, and have no text.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from events.actors import KeyActor, TokenActor
from events.envelope import RecordedEvent
from events.thread import events as e
from projections.log_follower import LogFollower, columns_of
from sql import queries
from sql.connection import Connection

_SQL = queries("usage")

# The types of the events that lead to rows.
TYPES = ("run.created", "model_call.finished", "model_call.failed", "model_call.stopped")
Group = Literal["project_id", "api_key_id", "model", "assistant_id", "run_id"]


@dataclass(frozen=True, slots=True)
class UsageSum:
    """Sums of the model calls of a step of time, which begins at `start` in Unix seconds.

    `cached_tokens` are a part of `input_tokens`. What the report was not grouped by is None.
    """

    start: int
    project_id: str | None
    key_id: str | None
    model: str | None
    assistant_id: str | None
    thread_id: str | None
    run_id: str | None
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    calls: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageFilter:
    """The calls that a report counts. A condition that is None lets all through."""

    since: datetime
    until: datetime
    projects: Collection[str] | None = None
    keys: Collection[str] | None = None
    models: Collection[str] | None = None


async def _add_rows(db: Connection, recorded: Sequence[RecordedEvent[Any]]) -> None:
    runs = [values for entry in recorded if (values := run_row(entry)) is not None]
    calls = [values for entry in recorded if (values := call_row(entry)) is not None]
    if runs:
        await db.execute(_SQL["add_runs"], *(column for column in columns_of(runs)))
    if calls:
        await db.execute(_SQL["add_calls"], *(column for column in columns_of(calls)))


FOLLOWER = LogFollower(_SQL, TYPES, _add_rows)


def run_row(recorded: RecordedEvent[Any]) -> tuple[Any, ...] | None:
    """Returns the row of a run that was created, or None for another event."""
    created, actor = recorded.event, recorded.actor
    if not isinstance(created, e.RunCreated):
        return None
    key_id = actor.key_id if isinstance(actor, KeyActor | TokenActor) else None
    return (
        recorded.stream_id,
        created.run_id,
        recorded.project_id,
        key_id,
        created.assistant_id,
        created.model,
    )


def call_row(recorded: RecordedEvent[Any]) -> tuple[Any, ...] | None:
    """Returns the row of a model call that ended and used tokens, without the columns of its run; None for another
    event.
    """
    call = recorded.event
    if not isinstance(call, e.ModelCallFinished | e.ModelCallFailed | e.ModelCallStopped):
        return None
    tokens = call.usage
    if not (tokens.prompt_tokens or tokens.completion_tokens):
        return None
    counts = (tokens.prompt_tokens, tokens.cached_tokens, tokens.completion_tokens)
    return (recorded.stream_id, recorded.version, call.run_id, recorded.at, *counts)


async def report(db: Connection, only: UsageFilter, *, step_s: int, groups: Collection[Group]) -> list[UsageSum]:
    """Returns the sums of each step of `step_s` seconds that has calls, by the groups, in the order of time."""
    rows = await db.fetch(
        _SQL["report"],
        only.since,
        only.until,
        step_s,
        None if only.projects is None else list(only.projects),
        None if only.keys is None else list(only.keys),
        None if only.models is None else list(only.models),
        list(groups),
    )
    return [UsageSum(**row) for row in rows]
