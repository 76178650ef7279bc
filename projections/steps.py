"""The steps of runs, with their tool calls and outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from events.envelope import RecordedEvent
from events.errors import NotFound
from events.object_changes import initial_step, merge_step_fields, step_patch
from events.objects import Json, Step
from events.thread import events as e
from projections.rows import MAX_PAGE_BYTES, Cursor, Page, PromptPosition, dump, load_fields
from sql import queries
from sql.connection import Connection

_SQL = queries("steps")

# Events that change no step.
_Ignored = e.LifeEvent | e.MessageEvent | e.RunEvent | e.ModelCallEvent | e.ToolCallStarted


@dataclass(slots=True)
class StepChange:
    """The change of one step by one append."""

    created: tuple[int, Step] | None = None
    patch: dict[str, Any] = field(default_factory=dict)


def step_changes(batch: Sequence[RecordedEvent[e.ThreadEvent]]) -> dict[str, StepChange]:
    """Returns the changes of one append by step id, folded so that each step is written once."""
    changes: dict[str, StepChange] = {}
    for recorded in batch:
        event = recorded.event
        match event:
            case e.StepCreated(step_id=step_id):
                created = (recorded.version, initial_step(recorded))  # type: ignore[arg-type]
                changes.setdefault(step_id, StepChange()).created = created
            case e.StepEnded() | e.ToolOutputsSubmitted() | e.ToolCallFinished() | e.ToolCallStopped():
                change = changes.setdefault(event.step_id, StepChange())
                change.patch = merge_step_fields(change.patch, step_patch(event) or {})
            case _:
                _ignored: _Ignored = event
    return changes


async def apply(db: Connection, batch: Sequence[RecordedEvent[e.ThreadEvent]]) -> None:
    thread_id, project_id = batch[0].stream_id, batch[0].project_id
    created = []
    for step_id, change in step_changes(batch).items():
        if change.created is not None:
            created.append((*change.created, dump(change.patch)))
        else:
            await db.execute(_SQL["patch"], thread_id, step_id, dump(change.patch))
    if created:
        await db.execute(
            _SQL["insert"],
            thread_id,
            project_id,
            [step.id for _, step, _ in created],
            [position for position, _, _ in created],
            [step.run_id for _, step, _ in created],
            [dump(step) for _, step, _ in created],
            [patch for _, _, patch in created],
        )
    if any(isinstance(recorded.event, e.ThreadDeleted) for recorded in batch):
        await db.execute(_SQL["delete_all"], thread_id)


async def get(db: Connection, project_id: str, thread_id: str, run_id: str, step_id: str) -> Step:
    """Returns the step. Raises NotFound."""
    row = await db.fetchrow(_SQL["get"], thread_id, run_id, step_id, project_id)
    if row is None:
        raise NotFound("run step", step_id)
    return Step(**load_fields(row["body"], row["progress"]))


async def page(db: Connection, project_id: str, thread_id: str, run_id: str, cursor: Cursor) -> Page[Step]:
    """Returns a page of steps. Raises NotFound if the cursor's id never existed."""
    after = await _list_position(db, project_id, thread_id, cursor.after)
    before = await _list_position(db, project_id, thread_id, cursor.before)
    lower, upper = cursor.bounds(after, before)
    rows = await db.fetch(
        _SQL[f"list_{cursor.scan}"], thread_id, run_id, project_id, lower, upper, cursor.limit + 1, MAX_PAGE_BYTES
    )
    return cursor.page([Step(**load_fields(row["body"], row["progress"])) if row["body"] else None for row in rows])


async def tool_call_steps(
    db: Connection, thread_id: str, since: PromptPosition, before: int | None, limit: int
) -> tuple[list[tuple[PromptPosition, Step]], int | None]:
    """Returns the thread's tool_calls steps at or behind `since`, newest first: runs work in the order of their
    creation.

    Returns (up to `limit` steps in front of position `before`, the position of the next page or None at the end).
    """
    rows = await db.fetch(_SQL["tool_call_steps"], thread_id, since[1], before, limit)
    found = [((row["place"], row["position"]), Step(**load_fields(row["body"], row["progress"]))) for row in rows]
    more = rows[-1]["position"] if len(rows) == limit else None
    return [(place, step) for place, step in found if place >= since], more


async def code_results(db: Connection, project_id: str, thread_id: str, limit: int) -> list[tuple[str, list[Json]]]:
    """Returns the thread's newest finished calls of code_interpreter that were carried out, oldest first: the id of
    each, and {file_id, path} of the files it created.
    """
    rows = await db.fetch(_SQL["code_results"], thread_id, project_id, limit)
    return [(row["call_id"], orjson.loads(row["files"] or "[]")) for row in reversed(rows)]


async def _list_position(db: Connection, project_id: str, thread_id: str, step_id: str | None) -> int | None:
    if step_id is None:
        return None
    position: int | None = await db.fetchval(_SQL["list_position"], thread_id, step_id, project_id)
    if position is None:
        raise NotFound("run step", step_id)
    return position
