"""Checks, while the server works, that the views of threads are those that their events lead to: after one run in N.

The check is that of `everthread verify` for the run's thread: its events against the log, its head and its views, in
one snapshot. It works in a thread of its own with a connection of its own, so no run and no request waits for it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

import asyncpg
import structlog

from events.envelope import RecordedEvent
from events.thread.events import RunEnd, ThreadEvent
from events.thread.state import ThreadState
from service.audit.batch_check import check_batch
from service.audit.faults import Fault
from service.database import DATABASE_ERRORS, connect
from service.errors import StartupError
from service.processes.scan_loop import ScanLoop

log = structlog.get_logger()

# Threads that wait for their check at most; a run that ends beyond them is not checked. Threads with differences that
# are remembered, for /healthz.
MAX_WAITING = 100
MAX_DIFFERENT = 100
# Seconds that the check of a thread may take, and after which a thread with differences is checked again.
CHECK_S = 30.0
RECHECK_S = 60.0


class RunChecker:
    """Checks the threads of one in `every` runs that end in this process, or of none if `every` is 0.

    `ended` counts the checks by outcome: `same`, `different`, or `failed` if the database did not allow one.
    """

    def __init__(self, database_url: str, *, every: int) -> None:
        self.ended = {"same": 0, "different": 0, "failed": 0}
        self._url = database_url
        self._every = every
        self._count = 0
        self._waiting: deque[str] = deque()
        self._different: dict[str, list[Fault]] = {}
        self._loop = ScanLoop("run_checks", every_s=RECHECK_S)

    async def check_health(self) -> str | None:
        """Returns None if no difference is known, else one line that names a stream and a view."""
        for faults in self._different.values():
            others = sum(len(found) for found in self._different.values()) - 1
            return f"{faults[0]}{f' (and {others} more)' if others else ''}; see everthread verify"
        return None

    def on_thread_append(
        self, thread_id: str, recorded: Sequence[RecordedEvent[ThreadEvent]], state: ThreadState
    ) -> None:
        if not self._every:
            return
        for entry in recorded:
            if isinstance(entry.event, RunEnd):
                self._count += 1
                if self._count % self._every == 0 and len(self._waiting) < MAX_WAITING:
                    self._waiting.append(thread_id)
                    self._loop.nudge()

    async def run(self) -> None:
        """Checks threads until cancelled."""
        await self._loop.run(self.scan)

    async def scan(self) -> None:
        """Checks the threads that wait, and again those with differences: they may have been mended."""
        known = list(self._different)
        waiting, self._waiting = list(dict.fromkeys([*self._waiting, *known])), deque()
        for thread_id in waiting:
            await self._check(thread_id)

    async def _check(self, thread_id: str) -> None:
        try:
            faults = await asyncio.to_thread(_check_in_thread, self._url, thread_id)
        except (TimeoutError, StartupError, asyncpg.PostgresError, *DATABASE_ERRORS) as error:
            self.ended["failed"] += 1
            log.warning("run_check_failed", thread_id=thread_id, error=str(error) or type(error).__name__)
            return
        self.ended["different" if faults else "same"] += 1
        if not faults:
            self._different.pop(thread_id, None)
            return
        if self._different.get(thread_id) != faults:
            for fault in faults[:MAX_DIFFERENT]:
                log.error("view_differs", stream_id=fault.stream_id, version=fault.version, fault=fault.text)
        if thread_id in self._different or len(self._different) < MAX_DIFFERENT:
            self._different[thread_id] = faults


def _check_in_thread(url: str, thread_id: str) -> list[Fault]:
    """Checks a thread in an event loop of the calling thread. Returns the faults."""
    return asyncio.run(_check_thread(url, thread_id))


async def _check_thread(url: str, thread_id: str) -> list[Fault]:
    async with asyncio.timeout(CHECK_S):
        db = await connect(url, command_timeout_s=CHECK_S, is_lenient=True)
        try:
            return list((await check_batch(db, [thread_id])).faults)
        finally:
            await db.close()
