"""The sequencer: gives the events of committed appends their indexes in the log, off the path of the appends.

Every process has a sequencer, and one of them leads. It reads a batch of log_pending, inserts its ranges at the end of
log_ranges, and deletes the rows. Each step is a statement that commits by itself, so a crash between two of them is
mended by the next round: rows whose events the log has already are only deleted. Two sequencers at the same time do no
harm. Both begin their ranges at the same index, so the primary key refuses one of them, with its whole batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import monotonic

import asyncpg
import structlog

from events.envelope import RecordedEvent
from events.thread.events import ThreadEvent
from events.thread.state import ThreadState
from events.vector_store.events import VectorStoreEvent
from service.audit.log_tree import LogEpoch, LogRegression, load_sizes
from service.audit.ranges import AppendKey, LogRange, PendingAppend, order_appends
from service.database import Pool
from service.processes.orphans import LiveProcesses
from service.processes.scan_loop import ScanLoop
from sql import queries
from sql.connection import Connection

log = structlog.get_logger()

BATCH = 1000
# A round is repeated after so many seconds, or after an append, but not more often than every COALESCE_S seconds.
SCAN_EVERY_S = 0.5
COALESCE_S = 0.2
# The leader is bypassed if the oldest append has waited for so many seconds. The process that does so leads for
# LEADS_FOR_S seconds.
BYPASS_AFTER_S = 1.5
LEADS_FOR_S = 10.0
# A round begins this much before the oldest append of the round before, and every FULL_ROUND_S seconds with the oldest
# row. So it does not read through rows that are deleted but not yet vacuumed.
CLOCK_SKEW = timedelta(seconds=5)
FULL_ROUND_S = 5.0
# Seconds after which events without a row are looked for, if later ones of their stream have a row; streams a round,
# and events a stream.
GAP_AFTER_S = 2.0
GAPS_PER_ROUND = 20
GAP_EVENTS = 1000
# /healthz reports a problem if events may have waited for so many seconds.
MAX_LAG_S = 10.0
MAX_COUNTED = 100_000

_SQL = queries("sequencer")
_FIRST = AppendKey(datetime(1, 1, 1, tzinfo=UTC), "", 0)


@dataclass(frozen=True, slots=True)
class LogCounts:
    """`pending` are the appends that wait, at most MAX_COUNTED. `size` is the number of leaves of the log."""

    pending: int
    size: int


@dataclass(frozen=True, slots=True)
class SealedBatch:
    """A batch of appends that was read: `ranges` are now in the log, `held` must wait for earlier events.

    `is_last` if no appends follow it. `end` is the index after the log's last event, 0 if it was not read.
    """

    appends: Sequence[PendingAppend]
    ranges: Sequence[LogRange]
    held: Sequence[PendingAppend]
    is_last: bool
    end: int = 0


async def seal_batch(
    db: Connection, after: AppendKey = _FIRST, limit: int = BATCH, *, least_end: int = 0
) -> SealedBatch:
    """Seals up to `limit` appends with keys above `after`.

    Raises asyncpg.UniqueViolationError if another sequencer sealed at the same time, LogRegression if the log ends
    before `least_end`, and the errors of the database.
    """
    rows = await db.fetch(_SQL["pending"], after.at, after.stream_id, after.first_version, limit)
    appends = [PendingAppend(**row) for row in rows]
    if not appends:
        return SealedBatch([], [], [], is_last=True)
    end = await _load_end(db, least_end)
    streams = sorted({append.stream_id for append in appends})
    versions = {row["stream_id"]: row["version"] for row in await db.fetch(_SQL["versions"], streams)}
    order = order_appends(end, versions, appends)
    if order.ranges:
        await _seal(db, order.ranges)
    done = [*order.sealed, *(entry.append for entry in order.ranges)]
    if done:
        await _delete(db, done)
    end += sum(entry.append.count for entry in order.ranges)
    return SealedBatch(appends, order.ranges, order.held, is_last=len(appends) < limit, end=end)


async def _load_end(db: Connection, least_end: int) -> int:
    """Returns the index of the next leaf. Raises LogRegression if it is below `least_end`: events got these indexes."""
    end: int = await db.fetchval(_SQL["end"])
    if end < least_end:
        raise LogRegression(f"the log ends at the index {end}, and ended at {least_end}: it is in an older state")
    return end


async def begin_epoch(db: Connection, epoch: LogEpoch, stream_id: str, version: int) -> bool:
    """Begins an epoch with version `version` of a stream, which waits for its index, as its first leaf.

    Earlier versions that wait follow it: the old tree gets no leaves any more. Returns False if the version does not
    wait. Raises asyncpg.UniqueViolationError if another process began the epoch.
    """
    [last] = [row["version"] for row in await db.fetch(_SQL["versions"], [stream_id])] or [0]
    waiting = [PendingAppend(**row) for row in await db.fetch(_SQL["waiting"], stream_id)]
    first = next((append for append in waiting if append.first_version == version), None)
    if first is None or last >= version:
        return False
    await db.execute(_SQL["fill_gap"], first.at, stream_id, last, version, GAP_EVENTS)
    waiting = [PendingAppend(**row) for row in await db.fetch(_SQL["waiting"], stream_id)]
    earlier = [append for append in waiting if append.first_version < version]
    order = order_appends(epoch.first_index + first.count, {stream_id: last}, earlier)
    ranges = [LogRange(epoch.first_index, first), *order.ranges]
    await _seal(db, ranges, epoch)
    await _delete(db, [entry.append for entry in ranges])
    return True


async def _seal(db: Connection, ranges: Sequence[LogRange], epoch: LogEpoch | None = None) -> None:
    """Inserts the ranges, and the epoch that begins with them."""
    appends = [entry.append for entry in ranges]
    await db.execute(
        _SQL["seal"],
        [entry.first_index for entry in ranges],
        [append.count for append in appends],
        [append.at for append in appends],
        [append.stream_id for append in appends],
        [append.first_version for append in appends],
        [append.project_id for append in appends],
        [append.actor for append in appends],
        [append.request_id for append in appends],
        [",".join(append.types) for append in appends],
        [append.leaves for append in appends],
        None if epoch is None else epoch.epoch,
        None if epoch is None else epoch.origin,
        None if epoch is None else epoch.first_index,
    )


async def _delete(db: Connection, appends: Sequence[PendingAppend]) -> None:
    await db.execute(
        _SQL["delete"],
        [append.at for append in appends],
        [append.stream_id for append in appends],
        [append.first_version for append in appends],
    )


class Sequencer:
    """The sequencer of a process. It works as long as `run` runs.

    The process with the lowest number leads. Another one takes over if the oldest append waits for BYPASS_AFTER_S
    seconds, for example because the leader is frozen.
    """

    def __init__(self, pool: Pool, processes: LiveProcesses, monotonic: Callable[[], float] = monotonic) -> None:
        self._pool = pool
        self._processes = processes
        self._now = monotonic
        self._loop = ScanLoop("sequencer", every_s=SCAN_EVERY_S, coalesce_s=COALESCE_S)
        self._leads_until = 0.0
        # The events committed before this moment are in the log, as far as this process knows.
        self._sealed_until = self._now()
        self._last_look = 0.0
        # The oldest append that waited at the last look of a process that does not lead, and the time of the first one.
        self._oldest: tuple[AppendKey, float] | None = None
        self._from: datetime | None = None
        self._next_full_round = 0.0
        # The reason why this process seals nothing any more.
        self._halted: str | None = None
        # The appends that wait for earlier events, and since when.
        self._held: dict[AppendKey, float] = {}
        # The index after the last event that this process has seen in the log.
        self._end = 0

    @property
    def lag_s(self) -> float:
        """The seconds since the last look that found, or the last round that left, nothing to seal."""
        return self._now() - self._sealed_until

    async def check_health(self) -> str | None:
        """Returns None if events get their indexes in time, else one line with the reason."""
        if self._halted is not None:
            return f"no event is sealed in the audit log: {self._halted}"
        lag = self.lag_s
        return None if lag <= MAX_LAG_S else f"events have waited for {lag:.0f} s to be sealed in the audit log"

    def halt(self, reason: str) -> None:
        """Stops for good, because the database went back to an older state."""
        self._halted = reason

    async def count(self, db: Connection) -> LogCounts:
        """Returns the counts of all processes, for the metrics."""
        pending = await db.fetchval(_SQL["waiting_count"], MAX_COUNTED)
        return LogCounts(pending, sum(sized.size for sized in await load_sizes(db)))

    def on_thread_append(
        self, thread_id: str, recorded: Sequence[RecordedEvent[ThreadEvent]], state: ThreadState
    ) -> None:
        self._loop.nudge()

    def on_store_append(self, store_id: str, recorded: Sequence[RecordedEvent[VectorStoreEvent]]) -> None:
        self._loop.nudge()

    def on_wake(self, stream_id: str) -> None:
        self._loop.nudge()

    async def run(self) -> None:
        """Seals appends until cancelled."""
        await self._loop.run(self.scan)

    async def scan(self) -> None:
        """Carries out a round if this process leads, else looks whether the leader works."""
        if self._halted is not None:
            return
        async with self._pool.acquire() as db:
            try:
                if self._leads() or await self._is_leader_stuck(db):
                    self._oldest = None
                    await self._round(db)
            except LogRegression as regression:
                log.error("sequencer_halted", reason=str(regression))
                self.halt(str(regression))

    def _leads(self) -> bool:
        return self._processes.process == min(self._processes.live) or self._now() < self._leads_until

    async def _is_leader_stuck(self, db: Connection) -> bool:
        began = self._now()
        self._end = await _load_end(db, self._end)
        row = await db.fetchrow(_SQL["oldest"])
        if row is None:
            self._oldest, self._sealed_until = None, began
            return False
        key = AppendKey(**row)
        if self._oldest is None or self._oldest[0] != key:
            # The append that was the oldest at the last look has been sealed since.
            self._sealed_until = max(self._sealed_until, self._last_look)
            self._oldest = (key, began)
        self._last_look = began
        if began - self._oldest[1] < BYPASS_AFTER_S:
            return False
        log.warning("sequencer_bypassed", leader=min(self._processes.live))
        self._leads_until = began + LEADS_FOR_S
        return True

    async def _round(self, db: Connection) -> None:
        """Seals all appends that wait."""
        began = self._now()
        is_full = began >= self._next_full_round or self._from is None
        after, oldest, held = _FIRST, None, list[PendingAppend]()
        if not is_full and self._from is not None:
            after = AppendKey(self._from, "", 0)
        while True:
            try:
                batch = await seal_batch(db, after, least_end=self._end)
            except asyncpg.UniqueViolationError:
                log.info("sequencer_collided")
                return
            self._end = max(self._end, batch.end)
            held += batch.held[: BATCH - len(held)]
            if batch.appends:
                oldest = oldest or batch.appends[0].at
                after = batch.appends[-1].key
            if batch.is_last:
                break
        if oldest is not None:
            self._from = oldest - CLOCK_SKEW
        if not held:
            self._sealed_until = began
        if is_full:
            self._next_full_round = began + FULL_ROUND_S
            await self._fill_gaps(db, held)

    async def _fill_gaps(self, db: Connection, held: Sequence[PendingAppend]) -> None:
        """Adds rows for events without one, if later events of their streams have waited for them long enough."""
        now = self._now()
        self._held = {append.key: self._held.get(append.key, now) for append in held}
        due = [append for append in held if now - self._held[append.key] >= GAP_AFTER_S and append.is_whole]
        streams = sorted({append.stream_id for append in due})[:GAPS_PER_ROUND]
        versions = {row["stream_id"]: row["version"] for row in await db.fetch(_SQL["versions"], streams)}
        for stream_id in streams:
            first = min((append for append in due if append.stream_id == stream_id), key=lambda it: it.first_version)
            after = versions.get(stream_id, 0)
            await db.execute(_SQL["fill_gap"], first.at, stream_id, after, first.first_version, GAP_EVENTS)
            log.warning("log_gap_found", stream_id=stream_id, after=after, before=first.first_version)
