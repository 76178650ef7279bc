"""A replica of the database, for reads that may be a little old (docs/scaling.md, "Reads from a replica").

Its age is measured by positions in the log of Postgres, not by clocks of two machines. Every POLL_S seconds this
process notes the time, asks the primary for the position at which it writes, and then the replica for the position up
to which it has replayed. Once the replica has passed the position of a sample, it has everything that was committed
before the time of that sample.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic

import asyncpg
import structlog

import sql
from service.database.errors import DATABASE_ERRORS
from service.database.pool import Pool
from service.tasks.background import background

log = structlog.get_logger()

# Seconds between two samples.
POLL_S = 0.2
# Seconds that the primary or the replica may take for a sample. A replica that hangs serves no reads after that time.
SAMPLE_S = 2.0
# Projects whose last writes are kept one by one. If there are more, the last write of any of them counts for all.
MAX_PROJECTS = 10_000

# The parts of a history that the primary and a replica of it have in common, with the problem if they differ. A
# position in the log of Postgres means the same on both only if they do: after a restore or a failover, a replica of
# the older primary may be ahead.
_HISTORY = {
    "system_identifier": "it is a copy of another Postgres",
    "timeline": "it has not followed the primary to its timeline: the primary was restored or is a promoted replica",
    "origin": "its audit log is of another installation or epoch",
}

_SQL = sql.queries("replica")


class ReplicaUnfit(Exception):
    """The database at the URL is no replica of the primary, or no longer. The message says why."""


class ReadReplica:
    """The pool of a replica, and the time up to which it has everything that was committed.

    A read of a project may go to the replica if the replica is at most `max_lag_s` seconds behind, and has all that
    this process wrote for the project. Times are those of the monotonic clock.
    """

    def __init__(self, primary: Pool, pool: Pool, *, max_lag_s: float) -> None:
        self.pool = pool
        self.max_lag_s = max_lag_s
        self._primary = primary
        self._samples: deque[tuple[float, int]] = deque(maxlen=round(max_lag_s / POLL_S) + 2)
        self._complete_until: float | None = None
        self._writes: dict[str, float] = {}
        self._write_of_any = 0.0
        self._problem: str | None = None

    @property
    def lag_s(self) -> float | None:
        """The seconds by which the replica may be behind; None if it is not known, so that nothing is read there."""
        return None if self._complete_until is None else monotonic() - self._complete_until

    def can_serve(self, project_id: str) -> bool:
        """Whether a read of the project may go to the replica now."""
        until, lag_s = self._complete_until, self.lag_s
        if until is None or lag_s is None or lag_s > self.max_lag_s:
            return False
        return until >= self._writes.get(project_id, self._write_of_any)

    def note_write(self, project_id: str) -> None:
        """Notes that this process has just committed something for the project."""
        now = monotonic()
        if len(self._writes) >= MAX_PROJECTS and project_id not in self._writes:
            self._writes.clear()
            self._write_of_any = now
        self._writes[project_id] = now

    def report_failure(self, error: BaseException) -> None:
        """Stops reads from the replica until the next good sample."""
        self._complete_until = None
        self._note_problem(f"a read failed: {str(error) or type(error).__name__}")

    async def run(self) -> None:
        """Takes samples until cancelled."""
        while True:
            try:
                async with asyncio.timeout(SAMPLE_S):
                    await self._sample()
            except (*DATABASE_ERRORS, asyncpg.PostgresError, TimeoutError, ReplicaUnfit) as error:
                # The next sample of the same server may be of another one: of a new replica, or after a promotion.
                self._complete_until = None
                self._samples.clear()
                self._note_problem(str(error) or type(error).__name__)
            await asyncio.sleep(POLL_S)

    async def _sample(self) -> None:
        began = monotonic()
        primary = await self._primary.fetchrow(_SQL["primary"])
        replica = await self.pool.fetchrow(_SQL["replica"])
        assert primary is not None
        assert replica is not None
        if not replica["is_replica"]:
            raise ReplicaUnfit("it is not in recovery: it was promoted, or never was a replica")
        for part, problem in _HISTORY.items():
            if primary[part] != replica[part]:
                raise ReplicaUnfit(problem)
        self._samples.append((began, primary["position"]))
        while self._samples and self._samples[0][1] <= (replica["position"] or 0):
            self._complete_until, _ = self._samples.popleft()
        if self._problem is not None and (self.lag_s or self.max_lag_s) < self.max_lag_s:
            self._problem = None
            log.info("read_replica_recovered")

    def _note_problem(self, problem: str) -> None:
        if self._problem is None:
            log.warning("read_replica_lost", reason=problem)
        self._problem = problem


@asynccontextmanager
async def replica_lifespan(primary: Pool, pool: Pool, *, max_lag_s: float) -> AsyncIterator[ReadReplica]:
    """Yields the replica while its samples are taken. It may be unreachable, also at the start."""
    replica = ReadReplica(primary, pool, max_lag_s=max_lag_s)
    async with background(replica.run()):
        yield replica
