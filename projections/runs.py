"""The runs of threads, and the scans by which supervisors find those that need a process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from events.envelope import RecordedEvent
from events.errors import NotFound
from events.object_changes import initial_run, run_patch
from events.objects import Run
from events.thread import events as e
from projections.rows import Cursor, Page, dump, load_fields
from sql import queries
from sql.connection import Connection

_SQL = queries("runs")


@dataclass(slots=True)
class RunChange:
    """What one append does to one run. `process` counts only where `moved`: the run was claimed or let go.

    `expires_at` where the run's time began: null leaves it as it was.
    """

    opened: tuple[int, Run] | None = None
    patch: dict[str, Any] = field(default_factory=dict)
    process: int | None = None
    moved: bool = False
    expires_at: int | None = None


def run_changes(batch: Sequence[RecordedEvent[Any]]) -> dict[str, RunChange]:
    """One append's changes by run id, folded so that each run is written once."""
    found: dict[str, RunChange] = {}
    for recorded in batch:
        run_id = getattr(recorded.event, "run_id", None)
        if run_id is None:
            continue
        change = found.setdefault(run_id, RunChange())
        match recorded.event:
            case e.RunCreated():
                change.opened = (recorded.version, initial_run(recorded))
                change.expires_at = recorded.event.expires_at
            case e.RunAdmitted(expires_at=expires_at):
                change.expires_at = expires_at
            case e.RunClaimed(process=process):
                change.process, change.moved = process, True
            case e.RunQueued() | e.RunRequiresAction():
                change.process, change.moved = None, True
            case _:
                pass
        change.patch |= run_patch(recorded) or {}
    return {run_id: change for run_id, change in found.items() if change.opened or change.patch or change.moved}


async def apply(db: Connection, batch: Sequence[RecordedEvent[e.ThreadEvent]]) -> None:
    thread_id, project_id = batch[0].stream_id, batch[0].project_id
    for run_id, change in run_changes(batch).items():
        patch = dump(change.patch)
        if change.opened is not None:
            position, run = change.opened
            status = change.patch.get("status", run.status)
            at = change.expires_at
            args = (thread_id, run_id, project_id, position, status, at, change.process, dump(run), patch)
            await db.execute(_SQL["insert"], *args)
        else:
            status = change.patch.get("status")
            moved = (change.moved, change.process)
            await db.execute(_SQL["patch"], thread_id, run_id, patch, status, *moved, change.expires_at)
    if any(isinstance(recorded.event, e.ThreadDeleted) for recorded in batch):
        await db.execute(_SQL["delete_all"], thread_id)


async def get(db: Connection, project_id: str, thread_id: str, run_id: str) -> Run:
    """Raises NotFound."""
    row = await db.fetchrow(_SQL["get"], thread_id, run_id, project_id)
    if row is None:
        raise NotFound("run", run_id)
    return Run(**load_fields(row["body"], row["progress"]))


async def page(db: Connection, project_id: str, thread_id: str, cursor: Cursor) -> Page[Run]:
    """Raises NotFound for a cursor that never was."""
    places = [await _place(db, project_id, thread_id, id) for id in (cursor.after, cursor.before)]
    lower, upper = cursor.bounds(*places)
    rows = await db.fetch(_SQL[f"list_{cursor.scan}"], thread_id, project_id, lower, upper, cursor.limit + 1)
    return cursor.page([Run(**load_fields(row["body"], row["progress"])) for row in rows])


@dataclass(frozen=True, slots=True)
class ActiveRun:
    """A run that a supervisor may have to act on; `process` is the one that holds it, if any."""

    thread_id: str
    run_id: str
    project_id: str
    process: int | None


async def active_since(db: Connection, project_id: str, thread_id: str) -> int | None:
    """The version at which the first of the thread's runs was created that have not ended; None where all have."""
    found: int | None = await db.fetchval(_SQL["active_since"], thread_id, project_id)
    return found


async def created_before(db: Connection, project_id: str, thread_id: str, version: int, limit: int) -> list[int]:
    """The versions at which the last runs up to `version` were created, the newest first."""
    rows = await db.fetch(_SQL["created_before"], thread_id, project_id, version, limit)
    return [row["position"] for row in rows]


async def find_overdue(db: Connection, at: int, limit: int) -> list[ActiveRun]:
    """Active runs whose expires_at is at or before `at` (seconds), the oldest first. Over all projects."""
    return [ActiveRun(**row) for row in await db.fetch(_SQL["overdue"], at, limit)]


async def next_expiry(db: Connection) -> int | None:
    """The first expires_at (seconds) of all active runs."""
    found: int | None = await db.fetchval(_SQL["next_expiry"])
    return found


async def find_held(db: Connection, process: int, known: Sequence[str], limit: int) -> list[ActiveRun]:
    """Runs with work to do that `process` holds, other than those `known`. Over all projects."""
    return [ActiveRun(**row) for row in await db.fetch(_SQL["held"], process, list(known), limit)]


async def find_unowned(db: Connection, live: Sequence[int], limit: int) -> list[ActiveRun]:
    """Runs with work to do that no process of `live` holds, the first to expire first. Over all projects.

    Not those that wait for others of their thread.
    """
    return [ActiveRun(**row) for row in await db.fetch(_SQL["unowned"], list(live), limit)]


async def count_active(db: Connection) -> dict[str, int]:
    """How many runs have not ended, by status. Over all projects."""
    return {row["status"]: row["count"] for row in await db.fetch(_SQL["active"])}


async def _place(db: Connection, project_id: str, thread_id: str, run_id: str | None) -> int | None:
    if run_id is None:
        return None
    position: int | None = await db.fetchval(_SQL["place"], thread_id, run_id, project_id)
    if position is None:
        raise NotFound("run", run_id)
    return position
