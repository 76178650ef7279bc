"""The runs of threads, and the scans by which supervisors find those that need a process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from events.envelope import RecordedEvent
from events.errors import NotFound
from events.object_changes import initial_run, run_patch
from events.objects import Run
from events.thread import events as e
from events.thread.state import ThreadState
from projections.rows import (
    MAX_PAGE_BYTES,
    Cursor,
    Page,
    dump,
    dump_settings,
    load_fields,
    load_rows,
    split_at_deletion,
)
from sql import queries
from sql.connection import Connection
from sql.row_operations import RowOperation

_SQL = queries("runs")

# Events that neither create a run nor change its process or its expiry. `run_patch` decides which of them change other
# fields of the run. An event that ends a run leaves its process unchanged.
_UnclaimedEvent = (
    e.LifeEvent
    | e.MessageEvent
    | e.StepEvent
    | e.ModelCallFinished
    | e.ModelCallFailed
    | e.ModelCallStopped
    | e.ToolCallEvent
    | e.RunEnd
    | e.RunStarted
    | e.RunCancelling
)


@dataclass(slots=True)
class RunChange:
    """The change of one run by a batch of events.

    `process` counts only if `is_moved` is set: the run was claimed or released. `expires_at` is set if the run's time
    began, and `status` if it changed; null leaves them unchanged. `promised` are the ids that model calls may write.
    """

    created: tuple[int, Run] | None = None
    patches: list[bytes] = field(default_factory=list)
    metadata: bytes | None = None
    status: str | None = None
    process: int | None = None
    is_moved: bool = False
    expires_at: int | None = None
    promised: list[str] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Whether nothing changes, apart from the metadata."""
        return not (self.created or self.patches or self.is_moved or self.promised)


def run_changes(batch: Sequence[RecordedEvent[e.ThreadEvent]]) -> dict[str, RunChange]:
    """Returns the changes by run id, so that each run is written once."""
    changes: dict[str, RunChange] = {}
    for recorded in batch:
        run_id = getattr(recorded.event, "run_id", None)
        if run_id is not None:
            _change(changes.setdefault(run_id, RunChange()), recorded)
    return changes


def _change(change: RunChange, recorded: RecordedEvent[e.ThreadEvent]) -> None:
    """Adds an event to the change of its run."""
    match recorded.event:
        case e.RunCreated():
            change.created = (recorded.version, initial_run(recorded))  # type: ignore[arg-type]
            change.expires_at = recorded.event.expires_at
        case e.RunAdmitted(expires_at=expires_at):
            change.expires_at = expires_at
        case e.RunClaimed(process=process):
            change.process, change.is_moved = process, True
        case e.RunReleased() | e.RunQueued() | e.RunRequiresAction():
            change.process, change.is_moved = None, True
        case e.ModelCallStarted() as call:
            change.promised += [call.message_id, call.message_step_id, call.tool_step_id]
        case e.RunModified(metadata=metadata):
            change.metadata = dump({"metadata": metadata})
            return
        case _:
            _ignored: _UnclaimedEvent = recorded.event
    patch = run_patch(recorded)
    if patch is not None:
        change.patches.append(dump(patch))
        change.status = patch.get("status", change.status)


def project(batch: Sequence[RecordedEvent[e.ThreadEvent]], before: ThreadState) -> list[RowOperation]:
    """Returns the operations on the rows of runs."""
    is_deleted, batch = split_at_deletion(batch, e.ThreadDeleted)
    operations = [RowOperation("runs.delete_all", (before.id,))] if is_deleted else []
    for run_id, change in run_changes(batch).items():
        key = (before.id, run_id)
        if change.created is not None:
            position, run = change.created
            values = (
                *(*key, batch[0].project_id, position, change.status or run.status, change.expires_at),
                *(change.process, change.promised, dump_settings(run), change.patches),
            )
            operations.append(RowOperation("runs.insert", values))
        elif not change.is_empty:
            state = (change.status, change.is_moved, change.process, change.expires_at)
            operations.append(RowOperation("runs.patch", (*key, change.patches, *state, change.promised)))
        if change.metadata is not None:
            operations.append(RowOperation("runs.modify", (*key, change.metadata)))
    return operations


def _load(row: Mapping[str, Any]) -> Run:
    return Run(**load_fields(row["body"], row["patches"]))


async def get(db: Connection, project_id: str, thread_id: str, run_id: str) -> Run:
    """Returns the run. Raises NotFound."""
    row = await db.fetchrow(_SQL["get"], thread_id, run_id, project_id)
    if row is None:
        raise NotFound("run", run_id)
    return _load(row)


async def page(db: Connection, project_id: str, thread_id: str, cursor: Cursor) -> Page[Run]:
    """Returns a page of runs. Raises NotFound if the cursor's id never existed."""
    after = await _list_position(db, project_id, thread_id, cursor.after)
    before = await _list_position(db, project_id, thread_id, cursor.before)
    lower, upper = cursor.bounds(after, before)
    rows = await db.fetch(
        _SQL[f"list_{cursor.scan}"], thread_id, project_id, lower, upper, cursor.limit + 1, MAX_PAGE_BYTES
    )
    return cursor.page(await load_rows(rows, _load))


async def promising_run(db: Connection, thread_id: str, id: str) -> tuple[str, int] | None:
    """Returns the run with a model call that may write the message or step `id`, with the run's position, or None."""
    row = await db.fetchrow(_SQL["promising"], thread_id, id)
    return None if row is None else (row["run_id"], row["position"])


@dataclass(frozen=True, slots=True)
class ActiveRun:
    """A run on which a supervisor may have to act. `process` is the one that holds its claim, if any."""

    thread_id: str
    run_id: str
    project_id: str
    process: int | None


async def active_since(db: Connection, project_id: str, thread_id: str) -> int | None:
    """Returns the version at which the first active run of the thread was created, or None if no run is active."""
    found: int | None = await db.fetchval(_SQL["active_since"], thread_id, project_id)
    return found


async def created_before(db: Connection, project_id: str, thread_id: str, version: int, limit: int) -> list[int]:
    """Returns the versions at which the last runs up to `version` were created, the newest first."""
    rows = await db.fetch(_SQL["created_before"], thread_id, project_id, version, limit)
    return [row["position"] for row in rows]


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


async def _list_position(db: Connection, project_id: str, thread_id: str, run_id: str | None) -> int | None:
    if run_id is None:
        return None
    position: int | None = await db.fetchval(_SQL["list_position"], thread_id, run_id, project_id)
    if position is None:
        raise NotFound("run", run_id)
    return position
