"""Rebuilds the views of all streams, or compares them, in batches and by several processes (`everthread rebuild`).

Each batch is one short transaction. The service may write meanwhile, and appends to other streams do not wait. The
table `view_rebuilds` keeps the last stream up to which a rebuild is done, and the streams up to there whose events lead
to no rows, so that a rebuild which was broken off works on those again and goes on from there.
"""

from __future__ import annotations

import asyncio
import gc
import math
import multiprocessing
import os
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from time import monotonic

from events.software_version import SOFTWARE_VERSION
from projections.rebuild import ALL_VIEWS, compare, list_streams, rebuild
from projections.row_differences import Difference
from projections.row_fold import CannotFold
from service.child_process import end_with_parent, worker_context
from service.database import connect
from service.secrets.key_ring import RING
from sql import queries
from sql.connection import Connection

# Events and streams of one transaction, unless one stream has more.
BATCH_EVENTS = 1000
BATCH_STREAMS = 200
# Seconds that a statement may take: the rows of a stream can be many.
STATEMENT_S = 600.0
# Seconds between two notes of how far the rebuild has come.
NOTE_EVERY_S = 1.0
# The share of one core that a rebuild may use if nothing else is said.
MAX_LOAD = 0.5

# Streams without rows that a note of a rebuild names. The next one is after the noted position, and is found again.
MAX_NOTED_BROKEN = 1000
# Rows of no stream that a comparison reports.
MAX_STRAYS = 1000

_SQL = queries("view_rebuilds")
_STRAYS = queries("verify")["rows_without_stream"]


class RebuildBusy(Exception):
    """Another rebuild of this database is at work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RebuildScope:
    """The views to rebuild, or to compare if `check`. `max_load` is the share of one core that the work may use.

    Work that may use more than one core is done by several processes. `restart` ignores what an earlier rebuild of the
    same views has done. `has_own_process` if the event loop of the caller has other work. `retries_broken` if a rebuild
    that ended with broken streams is not repeated: only these streams are worked on again, and those after the last
    one.
    """

    views: Collection[str] = ALL_VIEWS
    check: bool = False
    max_load: float = MAX_LOAD
    restart: bool = False
    has_own_process: bool = False
    retries_broken: bool = False


@dataclass(slots=True)
class RebuildProgress:
    """The work so far. The totals are those of all streams, also those that an earlier rebuild has done."""

    total_streams: int = 0
    total_events: int = 0
    streams: int = 0
    events: int = 0
    resumed_after: str | None = None
    differences: int = 0
    broken: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class BatchResult:
    """`broken` has the streams whose events lead to no rows, each with the reason."""

    events: int
    differences: list[Difference]
    broken: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class RebuildNote:
    """All streams up to `last_stream_id` are done, but for the `broken` ones, whose events lead to no rows.

    If the rebuild `has_ended`, all streams were worked on. `is_full` if a batch had more broken streams than fit: the
    note stays before this batch.
    """

    last_stream_id: str = ""
    broken: Sequence[str] = ()
    has_ended: bool = False
    is_full: bool = False

    def after(self, batch: Sequence[str], result: BatchResult) -> RebuildNote:
        """Returns the note after a batch, which has broken streams of this note or the streams after the last one."""
        is_retry = batch[0] in self.broken
        broken = [id for id in self.broken if id not in batch] + list(result.broken)
        if self.is_full or len(broken) > MAX_NOTED_BROKEN:
            return replace(self, is_full=True)
        return RebuildNote(self.last_stream_id if is_retry else batch[-1], broken)


async def find_note(db: Connection, views: Collection[str]) -> RebuildNote | None:
    """Returns how far a rebuild of these views by this software has come, or None if there is nothing to go on with."""
    row = await db.fetchrow(_SQL["find"], sorted(views), SOFTWARE_VERSION)
    return None if row is None else RebuildNote(row["last_stream_id"], row["broken"], row["has_ended"])


async def rebuild_views(
    url: str,
    scope: RebuildScope,
    on_batch: Callable[[RebuildProgress, BatchResult], None],
) -> RebuildProgress:
    """Rebuilds or compares the views of all streams. Calls `on_batch` after each batch, in the order of the streams.

    Streams that the rebuild found to be broken before it was broken off come first, so the result names all that are.
    Raises RebuildBusy if another rebuild is at work. A rebuild that another version of the software broke off begins
    again, since its projections may differ.
    """
    progress = RebuildProgress()
    db = await connect(url, command_timeout_s=STATEMENT_S, is_lenient=True)
    try:
        note = RebuildNote() if scope.check else await _begin(db, scope)
        progress.resumed_after = note.last_stream_id or None
        total = await db.fetchrow(_SQL["totals"], note.last_stream_id)
        assert total is not None
        progress.total_streams, progress.total_events = total["streams"], total["events"]
        progress.streams, progress.events = total["done_streams"], total["done_events"]
        retried, noted = frozenset(note.broken), monotonic()
        async for batch, result in _work(url, db, scope, note):
            if batch[0] not in retried:
                progress.streams += len(batch)
                progress.events += result.events
            progress.differences += len(result.differences)
            progress.broken += result.broken.values()
            on_batch(progress, result)
            note = note.after(batch, result)
            if not scope.check and monotonic() - noted >= NOTE_EVERY_S:
                await _write_note(db, scope, note)
                noted = monotonic()
        if scope.check:
            found = await _find_strays(db, scope)
            progress.differences += len(found)
            on_batch(progress, BatchResult(0, found, {}))
        elif progress.broken:
            await _write_note(db, scope, replace(note, has_ended=True))
        else:
            await db.execute(_SQL["forget"], sorted(scope.views))
    finally:
        await db.close()
    return progress


async def _begin(db: Connection, scope: RebuildScope) -> RebuildNote:
    """Locks out other rebuilds until the connection ends. Returns where to go on. Raises RebuildBusy."""
    if not await db.fetchval(_SQL["lock"]):
        raise RebuildBusy
    if scope.restart:
        await db.execute(_SQL["forget"], sorted(scope.views))
    note = await find_note(db, scope.views)
    if note is None or (note.has_ended and not scope.retries_broken):
        return RebuildNote()
    return replace(note, has_ended=False)


async def _write_note(db: Connection, scope: RebuildScope, note: RebuildNote) -> None:
    key = sorted(scope.views)
    await db.execute(_SQL["note"], key, note.last_stream_id, SOFTWARE_VERSION, note.broken, note.has_ended)


async def _find_strays(db: Connection, scope: RebuildScope) -> list[Difference]:
    """Returns up to MAX_STRAYS rows of views whose stream does not exist, or is of another kind."""
    rows = await db.fetch(_STRAYS, MAX_STRAYS)
    return [
        Difference(view=row["view"], key=(row["stream_id"], row["id"]), served=dict(row), rebuilt=None)
        for row in rows
        if row["view"] in scope.views
    ]


async def _work(
    url: str, db: Connection, scope: RebuildScope, note: RebuildNote
) -> AsyncIterator[tuple[list[str], BatchResult]]:
    """Yields the batches with their results: first each noted broken stream, then the others in their order."""
    count = max(1, min(math.ceil(scope.max_load), os.cpu_count() or 1))
    share = min(1.0, scope.max_load / count)
    if count == 1 and not scope.has_own_process:
        worker = await connect(url, command_timeout_s=STATEMENT_S, is_lenient=True)
        try:
            async for batch in _batches(db, note):
                yield batch, await _work_and_rest(worker, batch, scope, share)
        finally:
            await worker.close()
        return
    # A server that gives the work to one process goes on afterwards, and keeps no process that forks.
    context = multiprocessing.get_context("spawn") if count == 1 else worker_context(__name__)
    with ProcessPoolExecutor(
        count, mp_context=context, initializer=_open_worker, initargs=(url, RING.secrets())
    ) as pool:
        loop, running = asyncio.get_running_loop(), deque[tuple[list[str], asyncio.Future[BatchResult]]]()
        async for batch in _batches(db, note):
            running.append((batch, loop.run_in_executor(pool, _work_in_worker, batch, scope, share)))
            if len(running) > 2 * count:
                done, future = running.popleft()
                yield done, await future
        for done, future in running:
            yield done, await future


async def _batches(db: Connection, note: RebuildNote) -> AsyncIterator[list[str]]:
    """Yields ids of streams, in batches of up to BATCH_EVENTS events and BATCH_STREAMS streams, or one stream."""
    for stream_id in note.broken:
        yield [stream_id]
    batch, events = list[str](), 0
    async for stream_id, version in list_streams(db, note.last_stream_id):
        if batch and (events + version > BATCH_EVENTS or len(batch) >= BATCH_STREAMS):
            yield batch
            batch, events = [], 0
        batch.append(stream_id)
        events += version
    if batch:
        yield batch


async def _work_and_rest(db: Connection, batch: Sequence[str], scope: RebuildScope, share: float) -> BatchResult:
    """Works on the batch, and then rests so long that the work takes `share` of the time."""
    began = monotonic()
    result = await _do(db, batch, scope)
    await asyncio.sleep((monotonic() - began) * (1 / share - 1))
    return result


async def _do(db: Connection, batch: Sequence[str], scope: RebuildScope) -> BatchResult:
    """Leaves out streams whose events lead to no rows: their rows stay as they are."""
    left, broken = list(batch), dict[str, str]()
    while True:
        try:
            if scope.check:
                events, differences = await compare(db, left, scope.views)
            else:
                events, differences = await rebuild(db, left, scope.views), []
        except CannotFold as error:
            left.remove(error.stream_id)
            broken[error.stream_id] = str(error)
        else:
            return BatchResult(events, differences, broken)


class _Worker:
    """The event loop and the connection of a process that works on batches."""

    def __init__(self, url: str) -> None:
        # A collection looks at all objects, of which most are code. A batch leaves few in cycles.
        gc.freeze()
        gc.disable()
        self._runner = asyncio.Runner()
        self._db = self._runner.run(connect(url, command_timeout_s=STATEMENT_S, is_lenient=True))

    def work(self, batch: Sequence[str], scope: RebuildScope, share: float) -> BatchResult:
        result = self._runner.run(_work_and_rest(self._db, batch, scope, share))
        gc.collect()
        return result


_worker: _Worker | None = None


def _open_worker(url: str, keys: Sequence[bytes]) -> None:
    global _worker
    RING.add(keys)
    end_with_parent()
    _worker = _Worker(url)


def _work_in_worker(batch: Sequence[str], scope: RebuildScope, share: float) -> BatchResult:
    assert _worker is not None
    return _worker.work(batch, scope, share)
