"""The objects of a run as clients see them, before and after each of the run's events."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import unified_diff
from typing import Any

import orjson

from events.streams import THREAD
from projections import messages, runs, steps, threads
from projections.messages import load_message
from projections.row_store.tables import Tables
from projections.runs import load_run
from projections.steps import load_step
from service.database import Pool
from service.replay.deletions import DELETED_CONTENT
from service.replay.stream_fold import StreamFold, read_slices
from service.wire import v2

_VIEWS = (threads.project, messages.project, runs.project, steps.project)


@dataclass(frozen=True, slots=True)
class ObjectChange:
    """A change of an object that an event caused. `before` and `after` are its JSON on several lines, empty if it did
    not exist.
    """

    id: str
    before: str
    after: str

    def diff(self) -> list[str]:
        """Returns the lines of a unified diff, without its head."""
        lines = unified_diff(self.before.splitlines(), self.after.splitlines(), n=2, lineterm="")
        return [line for line in lines if not line.startswith(("---", "+++"))]


async def read_changes(
    pool: Pool, thread_id: str, run_id: str, *, hidden: frozenset[str], until: int
) -> dict[int, list[ObjectChange]]:
    """Returns the changes of the run, its steps and its messages in the views, by the version of the event.

    The contents of `hidden` messages are left out. Raises Rejection if the history is too large for memory, and
    CannotFold if an event is missing.
    """
    fold, before = StreamFold(THREAD, thread_id, _VIEWS), dict[str, str]()
    changes: dict[int, list[ObjectChange]] = {}
    async for page in read_slices(pool, thread_id, until=until):
        for recorded in page:
            fold.add([recorded])
            if getattr(recorded.event, "run_id", None) != run_id:
                continue
            after = dict(_objects(fold.rows.tables, thread_id, run_id, hidden))
            changed = [id for id in (before | after) if before.get(id) != after.get(id)]
            changes[recorded.version] = [ObjectChange(id, before.get(id, ""), after.get(id, "")) for id in changed]
            before = after
    return changes


def _objects(tables: Tables, thread_id: str, run_id: str, hidden: frozenset[str]) -> Iterator[tuple[str, str]]:
    run = tables["runs"].get((thread_id, run_id))
    if run is not None:
        yield run_id, _text(v2.WIRE.render_run(load_run(run)))
    for row in tables.rows("steps"):
        if row["run_id"] == run_id:
            yield row["step_id"], _text(v2.WIRE.render_step(load_step(row), include=frozenset()))
    for row in tables.rows("messages"):
        if row["run_id"] == run_id:
            rendered = v2.WIRE.render_message(load_message(row))
            is_hidden = row["message_id"] in hidden
            empty = {"content": DELETED_CONTENT, "attachments": [], "metadata": {}}
            yield row["message_id"], _text({**rendered, **empty} if is_hidden else rendered)


def _text(rendered: Any) -> str:
    return orjson.dumps(rendered, option=orjson.OPT_INDENT_2).decode()
