"""Checks recorded histories of any streams against today's software: those of a database, or of files."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from events.streams import THREAD
from service.database import Pool
from service.replay.check_others import INVERSIONS
from service.replay.check_stream import ReplayCheck, origin_of
from service.replay.check_thread import ThreadReplayCheck
from service.replay.deviations import Deviation, LoggedEvent
from service.replay.recorded_events import NotReadable, load_row, read_file, stream_type_of
from service.tools.base import CrashPolicy
from sql import queries

# Streams that are read at once, and events of them, unless one stream has more.
PAGE_STREAMS = 500
BATCH_EVENTS = 2_000
# Events that are in memory at once.
PREFETCH = 500
# Deviations that are reported for each stream: a change often affects all later events.
MAX_PER_STREAM = 20
# Parts whose deviations end the check of their stream.
_ENDING = ("read", "evolve")
_SQL = queries("replay_check")


@dataclass(frozen=True, slots=True)
class CheckScope:
    """The history to check: that of a project, or of these streams; of the whole installation if both are null."""

    project_id: str | None = None
    stream_ids: Sequence[str] | None = None


@dataclass(slots=True)
class CheckProgress:
    """The streams and events that were checked, of `total_events`, null if they were not counted.

    `left_out` counts the deviations beyond MAX_PER_STREAM of a stream. `prompts` and `unchecked_prompts` are as in
    `ReplayCheck`.
    """

    streams: int = 0
    events: int = 0
    deviations: int = 0
    left_out: int = 0
    prompts: int = 0
    unchecked_prompts: int = 0
    total_events: int | None = None
    newer_fields: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class _OpenStream:
    """A stream whose history is being read. `pending` are the events of the append that may go on.

    `check` is null if not even the first event can be read.
    """

    check: ReplayCheck[Any, Any] | None
    version: int = 0
    pending: list[LoggedEvent] = field(default_factory=list)
    reported: int = 0
    is_over: bool = False


class HistoryCheck:
    """Checks the events of any streams. Those of a stream come in order, from the first one on.

    If `runs` are given, only deviations at events of these runs count, and those that end the check of their stream.
    """

    def __init__(self, after_crash: Callable[[str], CrashPolicy], runs: frozenset[str] = frozenset()) -> None:
        self.progress = CheckProgress()
        self._after_crash = after_crash
        self._runs = runs
        self._open: dict[str, _OpenStream] = {}

    def add(self, logged: LoggedEvent) -> Iterator[Deviation]:
        """Yields the deviations that are certain now: of appends that have ended."""
        recorded = logged.recorded
        stream = self._open.get(recorded.stream_id) or self._begin(logged)
        self.progress.events += 1
        if stream.is_over:
            return
        if recorded.version != stream.version + 1:
            stream.is_over = True
            before = f"the history has no event {stream.version + 1} before it"
            yield from self._report(stream, [Deviation.at_event("read", recorded, before, "cannot check the stream")])
            return
        stream.version = recorded.version
        if stream.pending and origin_of(stream.pending[0]) != origin_of(logged):
            yield from self._flush(stream)
        stream.pending.append(logged)

    def add_unreadable(self, error: NotReadable) -> Iterator[Deviation]:
        """Yields the deviation of an event that today's software cannot load. The rest of its stream is not checked."""
        self.progress.events += 1
        stream = self._open.get(error.stream_id)
        if stream is None:
            stream = self._open[error.stream_id] = _OpenStream(None)
        if not stream.is_over:
            yield from self._flush(stream)
            stream.is_over = True
            self.progress.deviations += 1
            yield Deviation(
                part="read",
                stream_id=error.stream_id,
                version=error.version,
                type=error.type,
                at=error.at,
                run_id=None,
                recorded="an event of older or newer software",
                today=f"cannot read it ({error}): the rest of the stream was not checked",
            )

    def end(self, stream_id: str, head: Mapping[str, Any] | None = None) -> Iterator[Deviation]:
        """Yields the remaining deviations of a stream that has no more events.

        `head` is its row of `streams`: the state that is stored there must be that of the events.
        """
        stream = self._open.pop(stream_id, None)
        if stream is None or stream.check is None:
            return
        last = stream.pending[-1].recorded if stream.pending else None
        yield from self._flush(stream)
        self.progress.newer_fields.update(stream.check.newer_fields)
        self.progress.prompts += stream.check.prompts
        self.progress.unchecked_prompts += stream.check.unchecked_prompts
        if head is None or last is None or stream.is_over or stream.version != head["version"]:
            return
        stream_type = stream_type_of(last.event)
        if head["state_schema"] != stream_type.state_schema:
            return
        if stream_type.adapter.validate_json(head["state"]) != stream.check.state:
            today = stream_type.adapter.dump_json(stream.check.state).decode()
            stored = f"the state {head['state'].decode()}"
            yield from self._report(stream, [Deviation.at_event("evolve", last, stored, f"the state {today}")])

    def end_all(self) -> Iterator[Deviation]:
        """Yields the remaining deviations of all streams."""
        for stream_id in list(self._open):
            yield from self.end(stream_id)

    def _begin(self, logged: LoggedEvent) -> _OpenStream:
        recorded = logged.recorded
        stream_type = stream_type_of(recorded.event)
        check: ReplayCheck[Any, Any]
        if stream_type is THREAD:
            check = ThreadReplayCheck(recorded.stream_id, self._after_crash)
        else:
            check = ReplayCheck(stream_type, recorded.stream_id, INVERSIONS[stream_type]())
        stream = self._open[recorded.stream_id] = _OpenStream(check)
        self.progress.streams += 1
        return stream

    def _flush(self, stream: _OpenStream) -> Iterator[Deviation]:
        pending, stream.pending = stream.pending, []
        if stream.check is not None and pending:
            yield from self._report(stream, stream.check.add(pending))
            stream.is_over |= stream.check.is_broken

    def _report(self, stream: _OpenStream, found: Sequence[Deviation] | Iterator[Deviation]) -> Iterator[Deviation]:
        for deviation in found:
            if self._runs and deviation.run_id not in self._runs and deviation.part not in _ENDING:
                continue
            self.progress.deviations += 1
            stream.reported += 1
            if stream.reported <= MAX_PER_STREAM:
                yield deviation
            else:
                self.progress.left_out += 1


def check_file(check: HistoryCheck, path: Path, tick: Callable[[], None]) -> Iterator[Deviation]:
    """Yields the deviations of a file's streams, and calls `tick` after each event.

    Raises ValueError if a line is no recorded event, and OSError.
    """
    for found in read_file(path):
        yield from check.add_unreadable(found) if isinstance(found, NotReadable) else check.add(found)
        tick()
    yield from check.end_all()


async def check_database(
    check: HistoryCheck, pool: Pool, scope: CheckScope, tick: Callable[[], None]
) -> AsyncIterator[Deviation]:
    """Yields the deviations of the streams of a database, and calls `tick` after each page of events.

    Nothing is locked or changed.
    """
    async with pool.acquire() as db:
        if scope.stream_ids is None:
            total: int = await db.fetchval(_SQL["totals"], scope.project_id)
        else:
            total = await db.fetchval(_SQL["totals_of"], list(scope.stream_ids))
    check.progress.total_events = check.progress.events + total
    async for batch in _batches(pool, scope):
        async for deviation in _check_batch(check, pool, batch, tick):
            yield deviation


async def _batches(pool: Pool, scope: CheckScope) -> AsyncIterator[list[str]]:
    """Yields ids of streams that have about BATCH_EVENTS events together."""
    if scope.stream_ids is not None:
        for stream_id in scope.stream_ids:
            yield [stream_id]
        return
    last, batch, size = "", list[str](), 0
    while True:
        async with pool.acquire() as db:
            page = await db.fetch(_SQL["page"], last, scope.project_id, PAGE_STREAMS)
        for row in page:
            batch.append(row["stream_id"])
            size += row["version"]
            if size >= BATCH_EVENTS:
                yield batch
                batch, size = [], 0
        if len(page) < PAGE_STREAMS:
            break
        last = page[-1]["stream_id"]
    if batch:
        yield batch


async def find_missing(pool: Pool, stream_ids: Sequence[str]) -> list[str]:
    """Returns those of the streams that do not exist."""
    async with pool.acquire() as db:
        found = {row["stream_id"] for row in await db.fetch(_SQL["heads"], list(stream_ids))}
    return [id for id in stream_ids if id not in found]


async def find_erased(pool: Pool, stream_ids: Sequence[str]) -> list[str]:
    """Returns those of the streams that have events which were erased: their history cannot be checked."""
    async with pool.acquire() as db:
        return [row["stream_id"] for row in await db.fetch(_SQL["erased"], list(stream_ids))]


async def _check_batch(
    check: HistoryCheck, pool: Pool, stream_ids: list[str], tick: Callable[[], None]
) -> AsyncIterator[Deviation]:
    """Yields the deviations of some streams, whose events and heads are read in one snapshot."""
    async with pool.acquire() as db, db.transaction(isolation="repeatable_read", readonly=True):
        heads = {row["stream_id"]: row for row in await db.fetch(_SQL["heads"], stream_ids)}
        cursor = await db.cursor(_SQL["events"], stream_ids)
        before: str | None = None
        while rows := await cursor.fetch(PREFETCH):
            tick()
            for row in rows:
                stream_id = row["stream_id"]
                if before is not None and stream_id != before:
                    for deviation in check.end(before, heads.get(before)):
                        yield deviation
                before = stream_id
                try:
                    found = check.add(load_row(row))
                except NotReadable as error:
                    found = check.add_unreadable(error)
                for deviation in found:
                    yield deviation
        if before is not None:
            for deviation in check.end(before, heads.get(before)):
                yield deviation
