"""The runs of threads. `projections/active_runs.py` has the scans by which supervisors find runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from events.envelope import RecordedEvent, classes_of
from events.errors import NotFound
from events.object_changes import imported_run, initial_run, run_patch
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
from sql.row_operations import RowOperation, parts_of

_SQL = queries("runs")

# Events that change a run only by their patch, if they have one (`run_patch`).
_PatchOnly = (
    e.LifeEvent
    | e.MessageImported
    | e.StepImported
    | e.MessageEvent
    | e.StepEvent
    | e.ModelCallFinished
    | e.ModelCallFailed
    | e.ModelCallStopped
    | e.ToolCallEvent
    | e.RunEnd
    | e.RunAdmitted
    | e.RunReviewed
    | e.RunClaimed
    | e.RunReleased
    | e.RunQueued
    | e.RunStarted
    | e.RunRequiresAction
    | e.RunCancelling
)
_PATCH_ONLY = classes_of(_PatchOnly)


@dataclass(slots=True)
class RunChange:
    """The change of one run by a batch of events. `promised` are the ids that model calls may write."""

    created: tuple[int, Run] | None = None
    patches: list[bytes] = field(default_factory=list)
    metadata: bytes | None = None
    promised: list[str] = field(default_factory=list)


def run_changes(batch: Sequence[RecordedEvent[e.ThreadEvent]]) -> dict[str, RunChange]:
    """Returns the changes by run id, so that each run is written once."""
    changes: dict[str, RunChange] = {}
    for recorded in batch:
        run_id = getattr(recorded.event, "run_id", None)
        if run_id is not None:
            change = changes.get(run_id)
            if change is None:
                change = changes[run_id] = RunChange()
            if type(recorded.event) in _PATCH_ONLY:
                _add_patch(change, recorded)
            else:
                _change(change, recorded)
    return changes


def _change(change: RunChange, recorded: RecordedEvent[e.ThreadEvent]) -> None:
    """Adds an event to the change of its run."""
    match recorded.event:
        case e.RunCreated():
            change.created = (recorded.version, initial_run(recorded))  # type: ignore[arg-type]
        case e.ModelCallStarted() as call:
            change.promised += [call.message_id, call.message_step_id, call.tool_step_id]
        case e.RunModified(metadata=metadata):
            change.metadata = dump({"metadata": metadata})
            return
        case e.RunImported():  # see `_imports`
            return
        case _:
            _ignored: _PatchOnly = recorded.event
    _add_patch(change, recorded)


def _add_patch(change: RunChange, recorded: RecordedEvent[e.ThreadEvent]) -> None:
    patch = run_patch(recorded)
    if patch is not None:
        change.patches.append(dump(patch))


def project(batch: Sequence[RecordedEvent[e.ThreadEvent]], before: ThreadState) -> list[RowOperation]:
    """Returns the operations on the rows of runs."""
    is_deleted, batch = split_at_deletion(batch, e.ThreadDeleted)
    operations = [RowOperation("runs.delete_all", (before.id,))] if is_deleted else []
    operations += _imports(batch)
    for run_id, change in run_changes(batch).items():
        key = (before.id, run_id)
        if change.created is not None:
            position, run = change.created
            values = (*key, batch[0].project_id, position, change.promised, dump_settings(run), change.patches)
            operations.append(RowOperation("runs.insert", values))
        elif change.patches or change.promised:
            operations.append(RowOperation("runs.patch", (*key, change.patches, change.promised)))
        if change.metadata is not None:
            operations.append(RowOperation("runs.modify", (*key, change.metadata)))
    return operations


def _imports(batch: Sequence[RecordedEvent[e.ThreadEvent]]) -> list[RowOperation]:
    """Returns the operations that insert the imported runs of the batch: one, more if they are large, or none."""
    new = [
        (recorded.version, imported_run(recorded))  # type: ignore[arg-type]
        for recorded in batch
        if type(recorded.event) is e.RunImported
    ]
    bodies = [dump_settings(run) for _, run in new]
    operations = []
    for part in parts_of(bodies):
        key = (batch[0].stream_id, batch[0].project_id)
        columns = ([run.id for _, run in new[part]], [position for position, _ in new[part]], bodies[part])
        operations.append(RowOperation("runs.import", (*key, *columns)))
    return operations


def load_run(row: Mapping[str, Any]) -> Run:
    """Returns the object of a row with the columns body, patches."""
    return Run(**load_fields(row["body"], row["patches"]))


async def get(db: Connection, project_id: str, thread_id: str, run_id: str) -> Run:
    """Returns the run. Raises NotFound."""
    row = await db.fetchrow(_SQL["get"], thread_id, run_id, project_id)
    if row is None:
        raise NotFound("run", run_id)
    return load_run(row)


async def page(db: Connection, project_id: str, thread_id: str, cursor: Cursor) -> Page[Run]:
    """Returns a page of runs. Raises NotFound if the cursor's id never existed."""
    after = await _list_position(db, project_id, thread_id, cursor.after)
    before = await _list_position(db, project_id, thread_id, cursor.before)
    lower, upper = cursor.bounds(after, before)
    rows = await db.fetch(
        _SQL[f"list_{cursor.scan}"], thread_id, project_id, lower, upper, cursor.limit + 1, MAX_PAGE_BYTES
    )
    return cursor.page(await load_rows(rows, load_run))


async def find(db: Connection, ids: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Run]:
    """Returns the runs of any projects by (thread id, run id). Runs of deleted threads are left out."""
    rows = await db.fetch(_SQL["bodies"], [thread_id for thread_id, _ in ids], [run_id for _, run_id in ids])
    return {(row["thread_id"], row["run_id"]): load_run(row) for row in rows}


async def promising_run(db: Connection, thread_id: str, id: str) -> tuple[str, int] | None:
    """Returns the run with a model call that may write the message or step `id`, with the run's position, or None."""
    row = await db.fetchrow(_SQL["promising"], thread_id, id)
    return None if row is None else (row["run_id"], row["position"])


async def created_before(db: Connection, project_id: str, thread_id: str, version: int, limit: int) -> list[int]:
    """Returns the versions at which the last runs up to `version` were created, the newest first."""
    rows = await db.fetch(_SQL["created_before"], thread_id, project_id, version, limit)
    return [row["position"] for row in rows]


async def _list_position(db: Connection, project_id: str, thread_id: str, run_id: str | None) -> int | None:
    return None if run_id is None else await position_of(db, project_id, thread_id, run_id)


async def position_of(db: Connection, project_id: str, thread_id: str, run_id: str) -> int:
    """Returns the version with which a run began. Raises NotFound if there never was such a run."""
    position: int | None = await db.fetchval(_SQL["list_position"], thread_id, run_id, project_id)
    if position is None:
        raise NotFound("run", run_id)
    return position
