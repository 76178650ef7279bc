"""The steps of runs, with their tool calls and outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from events.envelope import RecordedEvent, classes_of
from events.errors import NotFound
from events.object_changes import imported_step, initial_step, merge_step_fields, step_patch
from events.objects import Json, Step
from events.thread import events as e
from events.thread.state import ThreadState
from projections.rows import (
    MAX_PAGE_BYTES,
    Cursor,
    Page,
    PromptPosition,
    dump,
    load_fields,
    load_page,
    load_rows,
    split_at_deletion,
)
from sql import queries
from sql.connection import Connection
from sql.row_operations import RowOperation, parts_of

_SQL = queries("steps")
# Steps that are read at once to find calls.
STEPS_PAGE = 20

# Events that change no step.
_Ignored = (
    e.LifeEvent | e.MessageImported | e.RunImported | e.MessageEvent | e.RunEvent | e.ModelCallEvent | e.ToolCallStarted
)
_IGNORED = classes_of(_Ignored)


@dataclass(slots=True)
class StepChange:
    """The change of one step by a batch of events."""

    created: tuple[int, Step] | None = None
    patches: list[bytes] = field(default_factory=list)


def step_changes(batch: Sequence[RecordedEvent[e.ThreadEvent]]) -> dict[str, StepChange]:
    """Returns the changes by step id, so that each step is written once."""
    changes: dict[str, StepChange] = {}
    for recorded in batch:
        event = recorded.event
        if type(event) in _IGNORED:
            continue
        match event:
            case e.StepCreated(step_id=step_id):
                created = (recorded.version, initial_step(recorded))  # type: ignore[arg-type]
                changes.setdefault(step_id, StepChange()).created = created
            case e.StepImported():  # see `_imports`
                pass
            case e.StepEnded() | e.ToolOutputsSubmitted() | e.ToolCallFinished() | e.ToolCallStopped():
                changes.setdefault(event.step_id, StepChange()).patches.append(dump(step_patch(event)))
            case _:
                _ignored: _Ignored = event
    return changes


def project(batch: Sequence[RecordedEvent[e.ThreadEvent]], before: ThreadState) -> list[RowOperation]:
    """Returns the operations on the rows of steps."""
    is_deleted, batch = split_at_deletion(batch, e.ThreadDeleted)
    operations = [RowOperation("steps.delete_all", (before.id,))] if is_deleted else []
    operations += _imports(batch)
    for step_id, change in step_changes(batch).items():
        if change.created is None:
            operations.append(RowOperation("steps.patch", (before.id, step_id, change.patches)))
        else:
            position, step = change.created
            key = (before.id, step_id, batch[0].project_id, position, step.run_id)
            operations.append(RowOperation("steps.insert", (*key, step.type, dump(step), change.patches)))
    return operations


def _imports(batch: Sequence[RecordedEvent[e.ThreadEvent]]) -> list[RowOperation]:
    """Returns the operations that insert the imported steps of the batch: one, more if they are large, or none."""
    new = [
        (recorded.version, imported_step(recorded))  # type: ignore[arg-type]
        for recorded in batch
        if type(recorded.event) is e.StepImported
    ]
    bodies = [dump(step) for _, step in new]
    operations = []
    for part in parts_of(bodies):
        values = (
            batch[0].stream_id,
            batch[0].project_id,
            [step.id for _, step in new[part]],
            [position for position, _ in new[part]],
            [step.run_id for _, step in new[part]],
            [step.type for _, step in new[part]],
            bodies[part],
        )
        operations.append(RowOperation("steps.import", values))
    return operations


def load_step(row: Mapping[str, Any]) -> Step:
    """Returns the object of a row with the columns body, patches."""
    return Step(**load_fields(row["body"], row["patches"], merge_step_fields))


async def get(db: Connection, project_id: str, thread_id: str, run_id: str, step_id: str) -> Step:
    """Returns the step. Raises NotFound."""
    row = await db.fetchrow(_SQL["get"], thread_id, run_id, step_id, project_id)
    if row is None:
        raise NotFound("run step", step_id)
    return load_step(row)


async def page(db: Connection, project_id: str, thread_id: str, run_id: str, cursor: Cursor) -> Page[Step]:
    """Returns a page of steps. Raises NotFound if the cursor's id never existed."""
    after = await _list_position(db, project_id, thread_id, cursor.after)
    before = await _list_position(db, project_id, thread_id, cursor.before)
    lower, upper = cursor.bounds(after, before)
    rows = await db.fetch(
        _SQL[f"list_{cursor.scan}"], thread_id, run_id, project_id, lower, upper, cursor.limit + 1, MAX_PAGE_BYTES
    )
    return cursor.page(await load_rows(rows, load_step))


async def tool_call_steps(
    db: Connection, thread_id: str, since: PromptPosition, before: int | None, limit: int
) -> tuple[list[tuple[PromptPosition, Step]], int | None]:
    """Returns the thread's tool_calls steps at or behind `since`, newest first: runs work in the order of their
    creation.

    Returns (up to `limit` steps in front of position `before`, the position of the next page or None at the end). A
    page also ends after MAX_PAGE_BYTES.
    """
    rows = await db.fetch(_SQL["tool_call_steps"], thread_id, since[1], before, limit + 1, MAX_PAGE_BYTES)
    page = await load_page(rows, lambda row: ((row["place"], row["position"]), load_step(row)), limit)
    next_page = page.items[-1][0][1] if page.more else None
    return [(place, step) for place, step in page.items if place >= since], next_page


async def code_results(db: Connection, project_id: str, thread_id: str, limit: int) -> list[tuple[str, list[Json]]]:
    """Returns the thread's newest finished calls of code_interpreter that were carried out, oldest first: the id of
    each, and {file_id, path} of the files it created.
    """
    found: list[tuple[str, list[Json]]] = []
    before: int | None = None
    while len(found) < limit:
        rows = await db.fetch(_SQL["tool_steps_before"], thread_id, project_id, before, STEPS_PAGE + 1, MAX_PAGE_BYTES)
        page = await load_page(rows, lambda row: (row["position"], load_step(row)), STEPS_PAGE)
        for _, step in page.items:
            found += reversed(_code_results(step))
        if not page.more:
            break
        before = page.items[-1][0]
    return found[:limit][::-1]


def _code_results(step: Step) -> list[tuple[str, list[Json]]]:
    """Returns the calls of code_interpreter of a step that were carried out and have finished, in their order."""
    results = [
        (call["id"], step.results.get(call["id"], {})) for call in step.tool_calls if call["type"] == "code_interpreter"
    ]
    return [
        (id, result.get("files") or [])
        for id, result in results
        if result.get("output") is not None and result.get("outcome") != "refused"
    ]


async def _list_position(db: Connection, project_id: str, thread_id: str, step_id: str | None) -> int | None:
    if step_id is None:
        return None
    position: int | None = await db.fetchval(_SQL["list_position"], thread_id, step_id, project_id)
    if position is None:
        raise NotFound("run step", step_id)
    return position
