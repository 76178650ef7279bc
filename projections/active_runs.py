"""The runs that have not ended, one small row each, by which supervisors find those that need a process.

They are apart from the rows of all runs (`projections/runs.py`), since indexes use what changes here: an update of a
row of `runs` writes no index.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from events.envelope import RecordedEvent, classes_of
from events.objects import RunStatus
from events.thread import events as e
from events.thread.state import ThreadState
from projections.rows import split_at_deletion
from sql import queries
from sql.connection import Connection
from sql.row_operations import RowOperation

_SQL = queries("active_runs")

# Events that change none of the columns. A run that is imported has ended.
_Ignored = (
    e.LifeEvent
    | e.ImportEvent
    | e.MessageEvent
    | e.StepEvent
    | e.ModelCallEvent
    | e.ToolCallEvent
    | e.RunModified
    | e.RunReviewed
)
_IGNORED = classes_of(_Ignored)


@dataclass(frozen=True, slots=True)
class ActiveRun:
    """A run on which a supervisor may have to act. `process` is the one that holds its claim, if any."""

    thread_id: str
    run_id: str
    project_id: str
    process: int | None


@dataclass(slots=True)
class ActivityChange:
    """The change of one run's row by a batch of events.

    `created` is the position of a run that the batch creates. `status` and `expires_at` (Unix seconds) are null if they
    stay the same. `process` counts only if `is_moved` is set: the run was claimed or released.
    """

    created: int | None = None
    status: RunStatus | None = None
    process: int | None = None
    is_moved: bool = False
    expires_at: int | None = None
    has_ended: bool = False

    def move(self, process: int | None) -> None:
        """Gives the run to a process, or to none."""
        self.process, self.is_moved = process, True


def project(batch: Sequence[RecordedEvent[e.ThreadEvent]], before: ThreadState) -> list[RowOperation]:
    """Returns the operations on the rows of active runs."""
    is_deleted, batch = split_at_deletion(batch, e.ThreadDeleted)
    operations = [RowOperation("active_runs.delete_all", (before.id,))] if is_deleted else []
    for run_id, change in _changes(batch).items():
        key = (before.id, run_id)
        if change.has_ended:
            if change.created is None:
                operations.append(RowOperation("active_runs.delete", key))
        elif change.created is not None:
            place = (batch[0].project_id, change.created)
            values = (*key, *place, change.status, change.expires_at, change.process)
            operations.append(RowOperation("active_runs.insert", values))
        elif change != ActivityChange():
            state = (change.status, change.is_moved, change.process, change.expires_at)
            operations.append(RowOperation("active_runs.change", (*key, *state)))
    return operations


def _changes(batch: Sequence[RecordedEvent[e.ThreadEvent]]) -> dict[str, ActivityChange]:
    """Returns the changes by run id."""
    changes: dict[str, ActivityChange] = {}
    for recorded in batch:
        if type(recorded.event) in _IGNORED:
            continue
        run_id = getattr(recorded.event, "run_id", None)
        if run_id is not None:
            _change(changes.setdefault(run_id, ActivityChange()), recorded)
    return changes


def _change(change: ActivityChange, recorded: RecordedEvent[e.ThreadEvent]) -> None:
    """Adds an event to the change of its run."""
    match recorded.event:
        case e.RunCreated(expires_at=expires_at):
            change.created, change.status, change.expires_at = recorded.version, "queued", expires_at
        case e.RunAdmitted(expires_at=expires_at):
            change.expires_at = expires_at
        case e.RunClaimed(process=process):
            change.move(process)
        case e.RunReleased():
            change.move(None)
        case e.RunQueued():
            change.status = "queued"
            change.move(None)
        case e.RunStarted():
            change.status = "in_progress"
        case e.RunRequiresAction():
            change.status = "requires_action"
            change.move(None)
        case e.RunCancelling():
            change.status = "cancelling"
        case e.RunCancelled() | e.RunCompleted() | e.RunIncomplete() | e.RunFailed() | e.RunExpired():
            change.has_ended = True
        case _:
            _ignored: _Ignored = recorded.event


async def active_since(db: Connection, project_id: str, thread_id: str) -> int | None:
    """Returns the version at which the first active run of the thread was created, or None if no run is active."""
    found: int | None = await db.fetchval(_SQL["active_since"], thread_id, project_id)
    return found


async def find_overdue(db: Connection, at: int, limit: int) -> list[ActiveRun]:
    """Returns active runs of all projects whose expires_at (Unix seconds) is at or before `at`, the oldest first."""
    return [ActiveRun(**row) for row in await db.fetch(_SQL["find_overdue"], at, limit)]


async def next_expiry(db: Connection) -> int | None:
    """Returns the first expires_at (Unix seconds) of all active runs."""
    found: int | None = await db.fetchval(_SQL["next_expiry"])
    return found


async def find_held(db: Connection, process: int, known: Sequence[str], limit: int) -> list[ActiveRun]:
    """Returns runs of all projects with work to do that `process` holds, except those in `known`."""
    return [ActiveRun(**row) for row in await db.fetch(_SQL["find_held"], process, list(known), limit)]


async def find_unowned(db: Connection, live: Sequence[int], limit: int) -> list[ActiveRun]:
    """Returns runs of all projects with work to do that no process of `live` holds, the first to expire first.

    Runs that wait for others of their thread are left out.
    """
    return [ActiveRun(**row) for row in await db.fetch(_SQL["find_unowned"], list(live), limit)]


async def count_active(db: Connection) -> dict[str, int]:
    """Returns the number of active runs of all projects, by status."""
    return {row["status"]: row["count"] for row in await db.fetch(_SQL["count_active"])}


async def count_of_project(
    db: Connection, project_id: str, statuses: Sequence[str], thread_ids: Sequence[str] | None
) -> int:
    """Returns the number of a project's active runs of these statuses, and of these threads if they are given."""
    threads = None if thread_ids is None else list(thread_ids)
    found: int = await db.fetchval(_SQL["count_of_project"], project_id, list(statuses), threads)
    return found


async def find_of_project(
    db: Connection, project_id: str, statuses: Sequence[str], thread_ids: Sequence[str] | None, *, limit: int
) -> list[tuple[str, str]]:
    """Returns up to `limit` of a project's active runs as pairs of a thread and a run; see `count_of_project`."""
    threads = None if thread_ids is None else list(thread_ids)
    rows = await db.fetch(_SQL["find_of_project"], project_id, list(statuses), threads, limit)
    return [(row["thread_id"], row["run_id"]) for row in rows]
