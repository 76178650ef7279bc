"""Deletes the threads that were idle for longer than their project's policy allows, and that no hold covers.

Every process looks every SCAN_EVERY_S seconds if the deletion is due; the one that moves its time does it. If it dies,
the next one begins CLAIM_S after it, with the threads that are left.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime

import structlog

from events.actors import SweepActor
from events.envelope import Origin
from events.errors import DomainError, NotFound
from events.thread.commands import DeleteThread
from projections import retention
from projections.retention import IdleThread, Policy
from service.processes.scan_loop import ScanLoop
from service.retention.release import is_held
from service.retention.rules import idle_since
from service.writer import Writer
from sql.connection import Connection
from sql.seals import ContentErased

log = structlog.get_logger()

# Seconds between two looks in one process, and between two deletions in all: an idle thread is deleted within an hour.
SCAN_EVERY_S = 60.0
DELETE_EVERY_S = 1800.0
# Seconds for which the others leave the work to a process. It claims it again before each page.
CLAIM_S = 600.0
PAGE_THREADS = 200
# The cause of the events that delete idle threads.
CAUSE = "retention"


class NotIdle(DomainError):
    """The thread has a new event, or a hold covers it: it is not deleted."""

    def __init__(self, thread_id: str) -> None:
        super().__init__(f"Thread {thread_id} is in use or under a hold.")


class IdleThreads:
    """Deletes idle threads, until it is cancelled."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._loop = ScanLoop("idle_threads", every_s=SCAN_EVERY_S)

    async def run(self) -> None:
        await self._loop.run(self.scan)

    async def scan(self) -> None:
        """Deletes all idle threads, if that is due."""
        async with self._writer.pool.acquire() as db:
            if not await retention.claim_idle_scan(db, CLAIM_S):
                return
            policies = await retention.list_policies(db)
        for policy in policies:
            await self._delete(policy)
        async with self._writer.pool.acquire() as db:
            await retention.end_idle_scan(db, DELETE_EVERY_S)

    async def _delete(self, policy: Policy) -> None:
        since, count = idle_since(policy, self._writer.clock.now()), 0
        if since is None:
            return
        async for page in find_idle(self._writer, policy, since):
            for thread in page:
                count += await self._delete_thread(policy.project_id, thread.id, since)
            async with self._writer.pool.acquire() as db:
                await retention.end_idle_scan(db, CLAIM_S)
        if count:
            log.info("idle_threads_deleted", project=policy.project_id, count=count)

    async def _delete_thread(self, project_id: str, thread_id: str, since: datetime) -> bool:
        """Deletes the thread if it is idle still. Returns whether it was deleted."""

        async def decide(db: Connection) -> DeleteThread:
            """Raises NotIdle. The append fails if the thread gets an event after this, and then decides again."""
            last_at = await retention.last_event_at(db, thread_id)
            if last_at is None or last_at >= since:
                raise NotIdle(thread_id)
            holds = await retention.active_holds(db, [project_id])
            if holds and await is_held(db, holds, project_id, thread_id):
                raise NotIdle(thread_id)
            return DeleteThread()

        try:
            await self._writer.thread(Origin(project_id, SweepActor(), cause=CAUSE), thread_id, decide)
        except (NotFound, NotIdle):
            return False
        return True


async def find_idle(writer: Writer, policy: Policy, since: datetime) -> AsyncIterator[list[IdleThread]]:
    """Yields pages of the threads that exist, have no event since `since`, and that no hold covers."""
    after: IdleThread | None = None
    while True:
        async with writer.pool.acquire() as db:
            found = await retention.idle_threads(db, policy.project_id, since, after, PAGE_THREADS)
            if not found:
                return
            holds = await retention.active_holds(db, [policy.project_id])
            page = list[IdleThread]()
            for thread in found:
                try:
                    if not (holds and await is_held(db, holds, policy.project_id, thread.id)):
                        page.append(thread)
                except ContentErased:  # it was deleted and erased meanwhile
                    continue
        yield page
        after = found[-1]
