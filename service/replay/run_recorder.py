"""Records runs of a database as files that `everthread replay --check` reads, with secrets replaced."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from events.envelope import RecordedEvent
from events.errors import NotFound
from events.streams import THREAD
from service.database import Pool
from service.replay.check_stream import groups_of, hash_state
from service.replay.deletions import deleted_since, hide_message
from service.replay.deviations import LoggedEvent
from service.replay.recorded_events import load_row, render_line
from service.replay.redaction import redact
from service.replay.run_reader import thread_of_run
from sql import queries

_SQL = queries("replay_check")


async def load_run(pool: Pool, run_id: str, *, sees_deleted: bool = False) -> list[LoggedEvent]:
    """Returns the events of the run's thread from the first one to the end of the append with the run's last event.

    Unless `sees_deleted`, messages that were deleted since have no content, and a run of a deleted thread does not
    exist. Raises NotFound, and NotReadable.
    """
    thread_id = await thread_of_run(pool, run_id)
    hidden = frozenset[str]() if sees_deleted else await deleted_since(pool, thread_id, 0)
    if thread_id in hidden:
        raise NotFound("run", run_id)
    async with pool.acquire() as db:
        rows = await db.fetch(_SQL["events"], [thread_id])
    groups = list(groups_of(_hide(load_row(row), hidden) for row in rows))
    ends = [place for place, group in enumerate(groups, start=1) if any(_is_of(one.recorded, run_id) for one in group)]
    if not ends:
        raise NotFound("run", run_id)
    return [logged for group in groups[: ends[-1]] for logged in group]


def _hide(logged: LoggedEvent, hidden: frozenset[str]) -> LoggedEvent:
    return replace(logged, recorded=replace(logged.recorded, event=hide_message(logged.recorded, hidden)))


def record_lines(events: Iterable[LoggedEvent], *, has_texts: bool = True) -> Iterator[bytes]:
    """Yields the lines of a recording of one thread, without secrets; without texts unless `has_texts`.

    The last event of each append has the hash of the state after it.
    """
    state = None
    for group in groups_of(redact(logged, has_texts=has_texts) for logged in events):
        for place, logged in enumerate(group, start=1):
            state = THREAD.evolve(state or THREAD.initial(logged.recorded.stream_id), logged.recorded)
            is_last = place == len(group)
            yield render_line(replace(logged, state_hash=hash_state(THREAD, state)) if is_last else logged)


def _is_of(recorded: RecordedEvent[Any], run_id: str) -> bool:
    return getattr(recorded.event, "run_id", None) == run_id
