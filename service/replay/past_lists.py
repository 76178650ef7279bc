"""Lists of several streams as they were: the threads, assistants and vector stores of a project.

The rows of the views serve as an index only: they say which streams there are. Each object is folded from its own
events, and shown if it existed then and matches the filter as it was then.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

from events import event_log
from events.envelope import RecordedEvent
from events.errors import Rejection
from events.objects import Assistant, Thread, VectorStore
from events.provenance import creation_time
from events.streams import ASSISTANT, THREAD, VECTOR_STORE, StreamType
from projections import assistants, threads, vector_stores
from projections.assistants import load_assistant
from projections.generations import Project
from projections.metadata import NO_FILTER, Filter, ListPosition
from projections.row_store import StreamRows
from projections.row_store.tables import Row, Tables
from projections.rows import MAX_PAGE_BYTES, Cursor, Page
from projections.vector_stores import load_store
from service.replay.past_pages import row_size
from service.replay.past_thread import thread_of
from service.replay.stream_fold import SLICE_EVENTS, read_slices
from service.replay.time_travel import TimeTravel, Viewer
from service.wire.as_of import Moment
from sql import queries
from sql.connection import Connection
from sql.seals import ContentErased

T = TypeVar("T", Thread, Assistant, VectorStore)
R = TypeVar("R", Thread, Assistant)

_SQL = queries("replay")
# Streams whose ids are read at once.
CANDIDATES = 100
# Streams, and events of them, that one request folds. A page ends there, although it then has fewer objects than its
# limit.
MAX_STREAMS = 1000
MAX_EVENTS = 200_000


@dataclass(frozen=True, slots=True)
class _ListedType(Generic[T]):
    """A type of objects that are listed.

    `types` are the types of events that its view needs, None for all. `load` returns the object of a stream at a
    moment. `find_position` returns the position of a project's object in the list, also of a deleted one. `table` has
    its row; the bytes of the rows of a page are bounded if `has_byte_bound`.
    """

    stream_type: StreamType[Any, Any]
    project: Project
    types: Sequence[str] | None
    table: str
    load: Callable[[Tables, str, datetime], T]
    find_position: Callable[[Connection, str, str], Awaitable[ListPosition]]
    has_byte_bound: bool = False


_THREADS = _ListedType(
    stream_type=THREAD,
    project=threads.project,
    types=("thread.created", "thread.modified", "thread.deleted", "message.added"),
    table="threads",
    load=lambda tables, id, moment: thread_of(tables, id),
    find_position=threads.find_position,
)
_ASSISTANTS = _ListedType(
    stream_type=ASSISTANT,
    project=assistants.project,
    types=None,
    table="assistants",
    load=lambda tables, id, moment: load_assistant(tables.find("assistants", id)),
    find_position=assistants.find_position,
    has_byte_bound=True,
)
_VECTOR_STORES = _ListedType(
    stream_type=VECTOR_STORE,
    project=vector_stores.project,
    types=None,
    table="vector_stores",
    load=lambda tables, id, moment: load_store(tables.find("vector_stores", id), moment),
    find_position=vector_stores.find_position,
)


async def list_threads(
    travel: TimeTravel, viewer: Viewer, at: Moment, cursor: Cursor, only: Filter = NO_FILTER
) -> Page[Thread]:
    """Returns a page of the project's threads. Raises NotFound for the ids of the cursor, ReplayBusy, and Rejection if
    the filter matches none of the streams that one request folds.
    """
    return await _present(travel, viewer, at, await _page(travel, viewer, at, _THREADS, cursor, only))


async def list_assistants(
    travel: TimeTravel, viewer: Viewer, at: Moment, cursor: Cursor, only: Filter = NO_FILTER
) -> Page[Assistant]:
    """Returns a page of the project's assistants. Raises the same errors."""
    return await _present(travel, viewer, at, await _page(travel, viewer, at, _ASSISTANTS, cursor, only))


async def list_stores(travel: TimeTravel, viewer: Viewer, at: Moment, cursor: Cursor) -> Page[VectorStore]:
    """Returns a page of the project's vector stores. Raises the same errors."""
    return await _page(travel, viewer, at, _VECTOR_STORES, cursor, NO_FILTER)


async def _present(travel: TimeTravel, viewer: Viewer, at: Moment, page: Page[R]) -> Page[R]:
    return Page(await travel.present(page.items, viewer, travel.moment_of(at)), page.more)


async def _page(
    travel: TimeTravel, viewer: Viewer, at: Moment, listed: _ListedType[T], cursor: Cursor, only: Filter
) -> Page[T]:
    moment = travel.moment_of(at)
    positions = [await _position(travel, viewer, listed, id) for id in (cursor.after, cursor.before)]
    lower, upper = cursor.bounds(positions[0], positions[1])
    until = moment + timedelta(microseconds=1)
    within = Filter(only.pairs, only.since, until if only.until is None else min(only.until, until))
    page = _PageFold(travel, moment, listed, cursor=cursor, only=only)
    async with travel.place(viewer):
        async for id in _candidates(travel, viewer, listed, cursor, within, lower, upper):
            if await page.is_complete(id):
                break
    return page.finish()


async def _candidates(
    travel: TimeTravel,
    viewer: Viewer,
    listed: _ListedType[T],
    cursor: Cursor,
    within: Filter,
    lower: ListPosition | None,
    upper: ListPosition | None,
) -> AsyncIterator[str]:
    """Yields the ids of streams of the type, in the order of the scan."""
    query = _SQL[f"candidates_{listed.stream_type.name}_{cursor.scan}"]
    has_imports = listed.stream_type is THREAD
    times, ids = await _deleted_imports(travel, viewer) if has_imports else ([], [])
    while True:
        bounds = within.bounds(lower, upper)
        rows = await travel.pool.fetch(
            query,
            viewer.project_id,
            bounds.lower_time,
            bounds.lower_id,
            bounds.upper_time,
            bounds.upper_id,
            viewer.sees_deleted,
            CANDIDATES,
            *(each for each in (times, ids) if has_imports),
        )
        for row in rows:
            yield row["id"]
        if len(rows) < CANDIDATES:
            return
        last = (rows[-1]["created_at"], rows[-1]["id"])
        lower, upper = (last, upper) if cursor.scan == "asc" else (lower, last)


async def _deleted_imports(travel: TimeTravel, viewer: Viewer) -> tuple[list[datetime], list[str]]:
    """Returns the times of creation and the ids of the deleted threads that commands created.

    Such threads may be imported, and then only their first events say when they were created. Both lists are empty if
    the viewer does not see deleted threads.
    """
    times, found = list[datetime](), list[str]()
    if not viewer.sees_deleted:
        return times, found
    ids = [row["stream_id"] for row in await travel.pool.fetch(_SQL["deleted_by_commands"], viewer.project_id)]
    for start in range(0, len(ids), CANDIDATES):
        rows = await travel.pool.fetch(_SQL["first_events"], ids[start : start + CANDIDATES])
        times += [creation_time(event_log.load_event(dict(row))) for row in rows]
        found += [row["stream_id"] for row in rows]
    return times, found


async def _position(travel: TimeTravel, viewer: Viewer, listed: _ListedType[T], id: str | None) -> ListPosition | None:
    """Returns the position of a cursor's id in the list. Raises NotFound if it never existed."""
    if id is None:
        return None
    async with travel.pool.acquire() as db:
        return await listed.find_position(db, viewer.project_id, id)


class _PageFold(Generic[T]):
    """Folds the streams of one page, within its bounds."""

    def __init__(
        self, travel: TimeTravel, moment: datetime, listed: _ListedType[T], *, cursor: Cursor, only: Filter
    ) -> None:
        self._travel = travel
        self._moment = moment
        self._listed: _ListedType[T] = listed
        self._cursor = cursor
        self._only = only
        self._items: list[T] = []
        self._more = False
        self._last: str | None = None
        self._streams = 0
        self._events = 0
        self._bytes = 0

    async def is_complete(self, id: str) -> bool:
        """Adds the object of a stream if it is listed. Returns whether the page is complete.

        Raises Rejection if no object was found within the bounds of a request.
        """
        if self._streams >= MAX_STREAMS or self._events >= MAX_EVENTS:
            if not self._items:
                message = (
                    f"None of the first {self._streams} objects matches. Narrow the list by created_at, or go on behind"
                    f" '{self._last}' (after, or before)."
                )
                raise Rejection(message, param="at", code="history_too_large")
            self._more = True
            return True
        self._streams += 1
        self._last = id
        found = await self._load(id)
        if found is None:
            return False
        item, size = found
        if len(self._items) >= self._cursor.limit or (self._listed.has_byte_bound and self._bytes >= MAX_PAGE_BYTES):
            self._more = True
            return True
        self._items.append(item)
        self._bytes += size
        return False

    def finish(self) -> Page[T]:
        """Returns the page, in the order of the request."""
        return Page(self._items[::-1] if self._cursor.backwards else self._items, self._more)

    async def _load(self, id: str) -> tuple[T, int] | None:
        """Returns the object, and the bytes of its row; None if it did not exist then, or if the filter excludes it."""
        listed, rows = self._listed, StreamRows()
        before = listed.stream_type.initial(id)
        async for batch in self._read(id):
            rows.apply(listed.project(batch, before))
        row: Row | None = rows.tables[listed.table].get((id,))
        if row is None or row.get("deleted"):
            return None
        found = listed.load(rows.tables, id, self._moment)
        return (found, row_size(row)) if self._only.pairs_in(found.metadata) else None

    async def _read(self, id: str) -> AsyncIterator[list[RecordedEvent[Any]]]:
        """Yields the events up to the moment, in slices; none of a stream that was erased."""
        types = self._listed.types
        slices = read_slices(self._travel.pool, id) if types is None else self._read_types(id, types)
        try:
            async for batch in slices:
                self._events += len(batch)
                until = [recorded for recorded in batch if recorded.at <= self._moment]
                if until:
                    yield until
                if len(until) < len(batch):
                    return
        except ContentErased:
            return

    async def _read_types(self, id: str, types: Sequence[str]) -> AsyncIterator[list[RecordedEvent[Any]]]:
        more, after = True, 0
        while more:
            async with self._travel.pool.acquire() as db:
                page = await event_log.read_types(db, id, types, after=after, until=event_log.NO_END)
            for start in range(0, len(page.recorded), SLICE_EVENTS):
                await asyncio.sleep(0)
                yield page.recorded[start : start + SLICE_EVENTS]
            more, after = page.more, page.recorded[-1].version if page.recorded else event_log.NO_END
