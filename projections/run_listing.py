"""The runs of the installation in the order of their creation, for operators: requests read runs of one project.

`projections/run_outcomes.py` has the rows of runs that were created here; `imported_runs` has those of runs that were
imported or copied by a fork, which reports do not count. Followers of the log write both. Runs of appends that have no
index in the log yet are read from their events.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from events.envelope import RecordedEvent
from events.thread import events as e
from projections.log_follower import LogFollower, columns_of, read_ranges
from sql import queries
from sql.connection import Connection

_SQL = queries("run_listing")

TYPES = ("run.created", "run.imported")
# Appends without an index that a list reads. The sequencer gives an index within a second, if a server is at work.
MAX_PENDING = 10_000


@dataclass(frozen=True, slots=True, order=True)
class ListedRun:
    """A run in the order of creation: by time, then by id."""

    created_at: datetime
    run_id: str
    thread_id: str
    project_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ListingFilter:
    """The runs that a list has: those created at or after `since`, of these statuses. None lets all through.

    A page may also have runs that are active, whatever their status is.
    """

    since: datetime
    status: Sequence[str]
    project_id: str | None = None
    assistant_id: str | None = None


async def _add_rows(db: Connection, recorded: Sequence[RecordedEvent[Any]]) -> None:
    if recorded:
        await db.execute(_SQL["add"], *(column for column in columns_of([import_row(each) for each in recorded])))


FOLLOWER = LogFollower(_SQL, ("run.imported",), _add_rows)


def import_row(recorded: RecordedEvent[Any]) -> tuple[Any, ...]:
    """Returns the row of a run that was imported."""
    event: e.RunImported = recorded.event
    created_at = datetime.fromtimestamp(event.body["created_at"], UTC)
    facts = (recorded.project_id, event.body["assistant_id"], event.body["status"], created_at)
    return (recorded.stream_id, event.run_id, *facts)


async def page(db: Connection, only: ListingFilter, before: tuple[datetime, str], limit: int) -> list[ListedRun]:
    """Returns up to `limit` runs before a position, which is (time, id), the newest first. It reads indexes only."""
    at, run_id = before
    rows = await db.fetch(
        _SQL["page"], at, run_id, only.since, only.project_id, only.assistant_id, list(only.status), limit
    )
    return [ListedRun(**row) for row in rows]


async def unindexed_runs(db: Connection, only: ListingFilter) -> list[ListedRun]:
    """Returns the runs, of any status, that began in the newest MAX_PENDING appends without an index, newest first."""
    appends = await db.fetch(_SQL["pending"], list(TYPES), MAX_PENDING)
    found = [_begin(recorded) for recorded in await read_ranges(db, appends, TYPES)]
    return sorted((listed for listed, assistant in found if _matches(listed, assistant, only)), reverse=True)


async def find(db: Connection, run_id: str) -> ListedRun | None:
    """Returns the run with this id, also one of a deleted thread; None if it is unknown, or began a moment ago."""
    row = await db.fetchrow(_SQL["find"], run_id)
    return None if row is None else ListedRun(**row)


def _begin(recorded: RecordedEvent[Any]) -> tuple[ListedRun, str]:
    """Returns the run that an event began, and its assistant."""
    event: e.RunCreated | e.RunImported = recorded.event
    at, assistant = recorded.at, getattr(event, "assistant_id", "")
    if isinstance(event, e.RunImported):
        *_, assistant, _, at = import_row(recorded)
    return ListedRun(at, event.run_id, recorded.stream_id, recorded.project_id), assistant


def _matches(listed: ListedRun, assistant: str, only: ListingFilter) -> bool:
    return (
        listed.created_at >= only.since
        and only.project_id in (None, listed.project_id)
        and only.assistant_id in (None, assistant)
    )
