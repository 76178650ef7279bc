"""The tokens of model calls, for reports of usage and costs.

No append writes these rows: a follower reads the log in the order of its indexes (`service/usage/follower.py`). They
stay when their thread is deleted, and have no text.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from events import event_log
from events.actors import KeyActor, TokenActor
from events.envelope import RecordedEvent
from events.thread import events as e
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


async def follow(db: Connection, limit: int, *, waits: bool = False) -> bool:
    """Adds the rows of the next `limit` ranges of the log. Returns whether more may follow.

    If another process is at it, `waits` for it or does nothing. The caller must have opened a transaction.
    """
    progress = await db.fetchrow(_SQL["wait"] if waits else _SQL["lock"])
    if progress is None:
        return False
    if progress["epoch"] != progress["current_epoch"]:
        await _refill(db, progress["current_epoch"], limit)
        return False
    page = await read_log(db, progress["next_index"], TYPES, limit)
    await _add_page(db, page)
    return page.more


async def rebuild(db: Connection, limit: int) -> None:
    """Makes all rows again from the log, `limit` ranges at a time. The caller must have opened a transaction.

    Readers see the old rows until it is committed; followers wait or do nothing.
    """
    progress = await db.fetchrow(_SQL["wait"])
    assert progress is not None, "a migration adds the progress"
    await _refill(db, progress["current_epoch"] or 0, limit)


async def _refill(db: Connection, epoch: int, limit: int) -> None:
    """Replaces all rows in this transaction, so that no reader counts too few."""
    await db.execute(_SQL["forget"], epoch)
    first, more = 0, True
    while more:
        page = await read_log(db, first, TYPES, limit)
        await _add_page(db, page)
        first, more = page.next_index, page.more


@dataclass(frozen=True, slots=True)
class LogPage:
    """Events of ranges of the log, the index after the ranges, and whether more may follow."""

    recorded: list[RecordedEvent[Any]]
    next_index: int
    more: bool


async def read_log(db: Connection, first: int, types: Sequence[str], limit: int) -> LogPage:
    """Returns the events of some types in up to `limit` ranges of the log from the index `first` on."""
    ranges = await db.fetch(_SQL["ranges"], first, list(types), limit)
    found = [row for row in ranges if row["concerns"]]
    rows = found and await db.fetch(
        _SQL["events"],
        [row["stream_id"] for row in found],
        [row["first_version"] for row in found],
        [row["first_version"] + row["count"] - 1 for row in found],
        list(types),
    )
    next_index = ranges[-1]["first_index"] + ranges[-1]["count"] if ranges else first
    return LogPage([event_log.load_event(row) for row in rows], next_index, more=len(ranges) == limit)


async def _add_page(db: Connection, page: LogPage) -> None:
    recorded = page.recorded
    runs = [values for entry in recorded if (values := run_row(entry)) is not None]
    calls = [values for entry in recorded if (values := call_row(entry)) is not None]
    if runs:
        await db.execute(_SQL["add_runs"], *(column for column in _columns(runs)))
    if calls:
        await db.execute(_SQL["add_calls"], *(column for column in _columns(calls)))
    await db.execute(_SQL["move"], page.next_index)


def _columns(rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    return [[row[place] for row in rows] for place in range(len(rows[0]))]


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
