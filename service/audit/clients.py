"""Keeps the clients of requests apart from the log, which only commits to them, and deletes them in time.

Rows are collected in memory and written every WRITE_EVERY_S seconds, so that requests wait for nothing; those of acts
(`service.audit.acts`) are written before the act. A process that is killed loses the other rows of that time: they then
count as deleted, and the commitments in the log have nothing to be compared with.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from events.clients import ClientFacts, commit_client, seal_client
from events.clock import Clock
from events.ids import IdSource
from service.database import DATABASE_ERRORS, Pool
from service.processes.scan_loop import ScanLoop
from sql import queries

log = structlog.get_logger()

WRITE_EVERY_S = 1.0
WRITE_TIMEOUT_S = 5.0
# Rows that wait for the database. The oldest are dropped beyond that.
MAX_WAITING = 50_000
ROWS_PER_QUERY = 1_000
SWEEP_EVERY_S = 3_600.0
DELETES_PER_QUERY = 1_000
_SQL = queries("request_clients")


@dataclass(frozen=True, slots=True)
class _Row:
    request_id: str
    at: datetime
    content: bytes


class ClientRecorder:
    """Commits to the clients of requests and keeps their rows for `keep_days` days; for 0 days it keeps none."""

    def __init__(self, pool: Pool, *, keep_days: int, clock: Clock, ids: IdSource) -> None:
        self._pool = pool
        self._keep = timedelta(days=keep_days)
        self._clock = clock
        self._ids = ids
        self._waiting: deque[_Row] = deque(maxlen=MAX_WAITING)
        self._turn = asyncio.Lock()

    def record(self, request_id: str, facts: ClientFacts) -> bytes | None:
        """Returns the commitment to the facts, whose row is written soon; None if no clients are recorded."""
        if not self._keep:
            return None
        content = seal_client(facts, self._ids.new_salt())
        self._waiting.append(_Row(request_id, self._clock.now(), content))
        return commit_client(content)

    async def run(self) -> None:
        """Writes rows until it is cancelled, and then once more."""
        try:
            while True:
                await asyncio.sleep(WRITE_EVERY_S)
                await self.write()
        finally:
            await self.write()

    async def run_sweep(self) -> None:
        """Deletes old rows until it is cancelled."""
        await ScanLoop("old_request_clients", every_s=SWEEP_EVERY_S).run(self.delete_old)

    async def write(self) -> None:
        """Writes the rows that wait, after any write at work. If the database does not answer, they wait longer."""
        async with self._turn:
            await self._write()

    async def _write(self) -> None:
        rows: list[_Row] = []
        try:
            async with asyncio.timeout(WRITE_TIMEOUT_S):
                while self._waiting:
                    while self._waiting and len(rows) < ROWS_PER_QUERY:
                        rows.append(self._waiting.popleft())
                    async with self._pool.acquire() as db:
                        await db.execute(
                            _SQL["insert"],
                            [row.request_id for row in rows],
                            [row.at for row in rows],
                            [row.content for row in rows],
                        )
                    rows.clear()
        except (TimeoutError, *DATABASE_ERRORS) as error:
            log.warning("request_clients_not_written", error=str(error) or type(error).__name__)
        finally:
            # Those that were not written wait on, also if the write was cancelled.
            self._waiting.extendleft(reversed(rows))

    async def delete_old(self) -> None:
        """Deletes the rows whose days are over."""
        before = self._clock.now() - self._keep
        deleted = DELETES_PER_QUERY
        while deleted == DELETES_PER_QUERY:
            async with self._pool.acquire() as db:
                done = await db.execute(_SQL["delete_old"], before, DELETES_PER_QUERY)
            deleted = int(done.rpartition(" ")[2])
