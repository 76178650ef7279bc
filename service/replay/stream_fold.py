"""Folds the events of a stream up to a version: its state, and the rows of its views in memory.

The stream is read in pages, each on a connection of its own for a moment, and nothing is locked: events never change,
so what is appended meanwhile does not matter. Other work gets its turn of the event loop after every slice.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from datetime import datetime
from typing import Any

from events import event_log
from events.envelope import RecordedEvent
from events.errors import Rejection
from events.streams import StreamType
from projections.generations import Project
from projections.row_fold import CannotFold
from projections.row_store import StreamRows
from projections.views import VIEWS
from service.database import Pool

# Events that are read at once, and that are decoded and folded in one turn of the event loop.
PAGE_EVENTS = 500
SLICE_EVENTS = 50
# Bytes of rows that a fold keeps in memory.
MAX_FOLD_BYTES = 256 * 1024**2


class StreamFold:
    """The fold of one stream. Call `add` with its events in order.

    `version`, `at` (None if there is no event), `state` and `rows` are those after the last event. `projects` are the
    views whose rows are folded, by default all of the stream's.
    """

    def __init__(
        self, stream_type: StreamType[Any, Any], stream_id: str, projects: Sequence[Project] | None = None
    ) -> None:
        self.stream_id = stream_id
        self.version = 0
        self.at: datetime | None = None
        self.state: Any = stream_type.initial(stream_id)
        self.rows = StreamRows()
        self._type = stream_type
        self._projects = VIEWS[stream_type] if projects is None else projects
        self._bytes = 0

    def add(self, batch: Sequence[RecordedEvent[Any]]) -> None:
        """Folds the next events. Raises CannotFold if one is missing, Rejection if the rows exceed MAX_FOLD_BYTES."""
        for place, recorded in enumerate(batch, start=self.version + 1):
            if recorded.version != place:
                raise CannotFold(self.stream_id, f"it has no event {place}")
        for project in self._projects:
            operations = project(batch, self.state)
            self.rows.apply(operations)
            self._bytes += sum(_size(value) for operation in operations for value in operation.values)
        for recorded in batch:
            self.state = self._type.evolve(self.state, recorded)
        self.version, self.at = batch[-1].version, batch[-1].at
        if self._bytes > MAX_FOLD_BYTES:
            message = f"The history of '{self.stream_id}' has more than {MAX_FOLD_BYTES} bytes: it cannot be replayed."
            raise Rejection(message, param="at", code="history_too_large")


async def fold_stream(
    pool: Pool,
    stream_type: StreamType[Any, Any],
    stream_id: str,
    until: int,
    projects: Sequence[Project] | None = None,
) -> StreamFold:
    """Returns the fold of a stream's events up to version `until`, which the stream has.

    Raises Rejection if it is too large for memory, and CannotFold if an event is missing.
    """
    fold = StreamFold(stream_type, stream_id, projects)
    async for batch in read_slices(pool, stream_id, until=until):
        fold.add(batch)
    if fold.version < until:
        raise CannotFold(stream_id, f"it has no event {fold.version + 1}")
    return fold


async def read_slices(
    pool: Pool, stream_id: str, *, after: int = 0, until: int = event_log.NO_END
) -> AsyncGenerator[list[RecordedEvent[Any]], None]:
    """Yields the events of a stream with versions above `after` and up to `until`, up to SLICE_EVENTS at a time.

    Other work gets its turn of the event loop before each slice. No connection is held between two pages.
    """
    while after < until:
        async with pool.acquire() as db:
            page = await event_log.read(db, stream_id, after=after, limit=min(PAGE_EVENTS, until - after))
        if not page:
            return
        for start in range(0, len(page), SLICE_EVENTS):
            await asyncio.sleep(0)
            yield page[start : start + SLICE_EVENTS]
        after = page[-1].version


def _size(value: object) -> int:
    """Returns the bytes of a column, or of a column of columns."""
    if isinstance(value, bytes):
        return len(value)
    return sum(map(_size, value)) if isinstance(value, list) else 0
