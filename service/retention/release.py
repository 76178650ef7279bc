"""Releases deleted objects for their erasure: threads when their keep time is over and no hold covers them.

The release is the one place where it is decided. It and every change of a policy or hold exclude each other by a lock,
so a hold that was placed before a release is seen by it. Objects that are no threads are released at once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import structlog

from events.clock import Clock
from projections import retention
from projections.erasures import Erasure
from projections.retention import Deletion, Hold, Policy
from service.database import Pool
from service.retention.metadata_history import read_history
from service.retention.rules import covers, kept_until, needs_metadata
from sql.connection import Connection
from sql.seals import ContentErased, SealBroken

log = structlog.get_logger()

# Deletions that one transaction looks at.
PAGE_DELETIONS = 50
# Seconds after which a deletion that waits is looked at again at the latest. The end of a hold, and another policy,
# make it due at once.
REVIEW_EVERY_S = 86_400.0


# Removes what clients may still get of a deleted object whose data are kept.
Hide = Callable[[Connection, Erasure], Awaitable[None]]


class Releaser:
    """Releases deletions, in any process."""

    def __init__(self, pool: Pool, clock: Clock, hide: Hide) -> None:
        self._pool = pool
        self._clock = clock
        self._hide = hide

    async def release(self) -> int:
        """Decides on a page of deletions, hides those that wait, and returns the number of all.

        Raises the errors of the database.
        """
        async with self._pool.acquire() as db, db.transaction():
            # First: what the next statements read includes every change that was made before.
            await retention.lock_shared(db)
            deletions = await retention.claim_unreleased(db, PAGE_DELETIONS)
            if not deletions:
                return 0
            projects = {deletion.erasure.project_id for deletion in deletions}
            holds = await retention.active_holds(db, projects)
            policies = {id: await retention.get_policy(db, id) for id in projects}
            released, waits = list[str](), dict[str, float]()
            for deletion in deletions:
                seconds = await self._wait_of(db, deletion, holds, policies[deletion.erasure.project_id])
                if seconds is None:
                    released.append(deletion.erasure.stream_id)
                else:
                    waits[deletion.erasure.stream_id] = seconds
                    await self._hide(db, deletion.erasure)
            await retention.release(db, released)
            await retention.wait(db, waits)
        if waits:
            log.info("erasures_wait", count=len(waits))
        return len(deletions)

    async def _wait_of(self, db: Connection, deletion: Deletion, holds: Sequence[Hold], policy: Policy) -> float | None:
        """Returns the seconds until the next look at the deletion, or None if it is released."""
        erasure = deletion.erasure
        if erasure.kind != "thread":
            return None
        try:
            held = await is_held(db, holds, erasure.project_id, erasure.stream_id)
        except (ContentErased, SealBroken, ValueError) as error:
            # A hold may cover it, so it is kept. The other deletions do not wait for it.
            log.warning("metadata_unreadable", thread=erasure.stream_id, error=str(error))
            held = True
        if held:
            return REVIEW_EVERY_S
        remaining = (kept_until(policy, deletion.last_at) - self._clock.now()).total_seconds()
        return min(remaining, REVIEW_EVERY_S) if remaining > 0 else None


async def is_held(db: Connection, holds: Sequence[Hold], project_id: str, thread_id: str) -> bool:
    """Whether one of the holds covers the thread, which may be deleted."""
    history = await read_history(db, thread_id) if needs_metadata(holds, project_id) else ()
    return any(covers(hold, project_id, thread_id, history) for hold in holds)
