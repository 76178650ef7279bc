"""The course of runs, for reports of latency and failures: when they were created, started and ended, and why.

No append writes these rows: a follower reads the log in the order of its indexes (`service/usage/follower.py`). They
stay when their thread is deleted, and have no text.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal, assert_never

from events.actors import KeyActor, TokenActor
from events.envelope import RecordedEvent
from events.thread import events as e
from projections.log_follower import LogFollower, columns_of
from sql import queries
from sql.connection import Connection

_SQL = queries("run_outcomes")

ENDS = ("run.completed", "run.incomplete", "run.failed", "run.cancelled", "run.expired")
# The types of the events that change rows.
TYPES = ("run.created", "run.started", *ENDS)
# Failed runs that a report counts. If it is about several projects, each has an equal share of them.
MAX_FAILED_RUNS = 50_000
OutcomeGroup = Literal["project_id", "api_key_id", "model", "assistant_id"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeFilter:
    """The runs that a report counts: those that ended from `since` until before `until`. None lets all through."""

    since: datetime
    until: datetime
    projects: Collection[str] | None = None
    keys: Collection[str] | None = None
    models: Collection[str] | None = None
    assistants: Collection[str] | None = None


@dataclass(frozen=True, slots=True)
class OutcomeSum:
    """The runs that ended in a step of time, which begins at `start` in Unix seconds.

    `run_ms` are the percentiles 50, 95 and 99 of the milliseconds from the creation of completed and incomplete runs to
    their end, `wait_ms` those to their start; None if there are none. Names that were not grouped by are None.
    """

    start: int
    project_id: str | None
    key_id: str | None
    model: str | None
    assistant_id: str | None
    runs: int
    completed: int
    incomplete: int
    failed: int
    cancelled: int
    expired: int
    run_ms: list[float] | None
    wait_ms: list[float] | None


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """The runs that ended with a status for a cause, and the newest of them."""

    status: str
    cause: str
    model: str | None
    assistant_id: str | None
    runs: int
    thread_id: str
    run_id: str
    ended_at: datetime


@dataclass(slots=True)
class _Course:
    """The course of a run in some events. `creation` are the columns that its creation sets."""

    creation: tuple[Any, ...] | None = None
    started_at: datetime | None = None
    end: tuple[datetime | None, str | None, str | None] = (None, None, None)


@dataclass(frozen=True, slots=True)
class FailureReport:
    """The groups of the failed runs that ended at `counted_from` or later."""

    counted_from: datetime
    groups: list[FailureGroup]


async def _add_rows(db: Connection, recorded: Sequence[RecordedEvent[Any]]) -> None:
    courses = _courses(recorded)
    new = [(*run.creation, run.started_at, *run.end) for run in courses.values() if run.creation is not None]
    old = [(*id, run.started_at, *run.end) for id, run in courses.items() if run.creation is None]
    if new:
        await db.execute(_SQL["add"], *(column for column in columns_of(new)))
    if old:
        await db.execute(_SQL["change"], *(column for column in columns_of(old)))


def _courses(recorded: Sequence[RecordedEvent[Any]]) -> dict[tuple[str, str], _Course]:
    """Returns the courses by thread and run, so that a row of a short run is written once.

    A run starts again after it got tool outputs; its first start counts.
    """
    courses: dict[tuple[str, str], _Course] = {}
    for each in recorded:
        event: e.RunCreated | e.RunStarted | e.RunEnd = each.event
        course = courses.setdefault((each.stream_id, event.run_id), _Course())
        match event:
            case e.RunCreated():
                course.creation = creation_columns(each)
            case e.RunStarted():
                course.started_at = course.started_at or each.at
            case e.RunCompleted() | e.RunIncomplete() | e.RunFailed() | e.RunCancelled() | e.RunExpired():
                course.end = end_columns(each)
            case _:
                assert_never(event)
    return courses


FOLLOWER = LogFollower(_SQL, TYPES, _add_rows)


def creation_columns(recorded: RecordedEvent[Any]) -> tuple[Any, ...]:
    """Returns the columns of a run that was created."""
    created, actor = recorded.event, recorded.actor
    key_id = actor.key_id if isinstance(actor, KeyActor | TokenActor) else None
    ids = (recorded.stream_id, created.run_id, recorded.project_id, key_id)
    return (*ids, created.assistant_id, created.model, recorded.at)


def end_columns(recorded: RecordedEvent[Any]) -> tuple[datetime, str, str | None]:
    """Returns time, status and cause of the end of a run. The cause of a completed one is None."""
    event: e.RunEnd = recorded.event
    status: str
    cause: str | None
    match event:
        case e.RunCompleted():
            status, cause = "completed", None
        case e.RunIncomplete(reason=reason):
            status, cause = "incomplete", reason
        case e.RunFailed(error=error):
            status, cause = "failed", error.code
        case e.RunCancelled():
            status, cause = "cancelled", "cancelled"
        case e.RunExpired(error=error):
            status, cause = "expired", "expired" if error is None else error.code
        case _:
            assert_never(event)
    return (recorded.at, status, cause)


async def report(
    db: Connection, only: OutcomeFilter, *, step_s: int, groups: Collection[OutcomeGroup]
) -> list[OutcomeSum]:
    """Returns the sums of each step of `step_s` seconds in which runs ended, by the groups, in the order of time."""
    rows = await db.fetch(_SQL["report"], *(condition for condition in _conditions(only)), step_s, list(groups))
    return [OutcomeSum(**row) for row in rows]


async def failures(
    db: Connection, only: OutcomeFilter, *, groups: Collection[OutcomeGroup], limit: int
) -> FailureReport:
    """Returns the causes for which runs ended without a whole answer, the most frequent first, up to `limit` of them.

    If more than MAX_FAILED_RUNS ended so, only the newest ones are counted: all since a second.
    """
    projects = None if only.projects is None else sorted({*only.projects})
    most = MAX_FAILED_RUNS if projects is None else max(1, MAX_FAILED_RUNS // max(1, len(projects)))
    suffix = "all" if projects is None else "projects"
    uncounted = await db.fetchval(_SQL[f"uncounted_{suffix}"], only.since, only.until, projects, most)
    since = only.since if uncounted is None else uncounted.replace(microsecond=0) + timedelta(seconds=1)
    counted = replace(only, since=since, projects=projects)
    rows = await db.fetch(
        _SQL[f"failures_{suffix}"], *(condition for condition in _conditions(counted)), list(groups), limit, most
    )
    return FailureReport(since, [FailureGroup(**row) for row in rows])


async def count_active(db: Connection, projects: Collection[str] | None) -> dict[str, int]:
    """Returns the number of runs that have not ended, by status."""
    rows = await db.fetch(_SQL["active"], None if projects is None else list(projects))
    return {row["status"]: row["count"] for row in rows}


def _conditions(only: OutcomeFilter) -> tuple[Any, ...]:
    lists = (only.projects, only.keys, only.models, only.assistants)
    return (only.since, only.until, *(None if values is None else list(values) for values in lists))
