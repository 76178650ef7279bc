"""Sets policies, and places and ends holds. Each is an event of the installation, and its row is written with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from events import event_log
from events.envelope import Origin
from events.errors import NotFound, Rejection
from events.ids import IdSource
from events.installation import INSTALLATION_ID, INSTALLATION_PROJECT, RecordActs
from events.retention import HoldEnded, HoldPlaced, RetentionEvent, RetentionSet
from events.streams import INSTALLATION, THREAD
from projections import retention
from projections.append import Guard
from projections.retention import Hold, Policy
from projections.rows import Page
from service.retention.idle import find_idle
from service.retention.rules import idle_since
from service.writer import Writer
from sql.connection import Connection

# Threads that a dry run counts.
MAX_COUNTED = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldRequest:
    """A hold to place: see `projections.retention.Hold`."""

    project_id: str
    reason: str
    thread_id: str | None = None
    metadata: Mapping[str, str] | None = None


class Retention:
    """The policies and holds of the installation. Callers check that projects exist."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    async def get_policy(self, project_id: str) -> Policy:
        async with self._writer.pool.acquire() as db:
            return await retention.get_policy(db, project_id)

    async def set_policy(self, origin: Origin, policy: Policy) -> None:
        """Sets the policy of a project. It counts for the threads that exist, and for deleted ones that are kept."""
        act = RetentionSet(project_id=policy.project_id, idle_days=policy.idle_days, keep_days=policy.keep_days)

        async def store(db: Connection) -> None:
            await retention.lock(db)
            await retention.set_policy(db, policy, self._writer.clock.now())

        await self._record(origin, act, store)

    async def place_hold(self, origin: Origin, asked: HoldRequest, *, ids: IdSource) -> Hold:
        """Places a hold. Raises NotFound if its thread was never in the project, Rejection if it is erased already."""
        hold = Hold(
            id=ids.new("hold"),
            project_id=asked.project_id,
            thread_id=asked.thread_id,
            metadata=asked.metadata,
            reason=asked.reason,
            placed_at=self._writer.clock.now(),
        )
        act = HoldPlaced(
            hold_id=hold.id,
            project_id=hold.project_id,
            reason=hold.reason,
            thread_id=hold.thread_id,
            metadata=None if hold.metadata is None else dict(hold.metadata),
        )

        async def store(db: Connection) -> None:
            await retention.lock(db)
            if hold.thread_id is not None:
                await _require_thread(db, hold.project_id, hold.thread_id)
            await retention.add_hold(db, hold)

        await self._record(origin, act, store)
        return await self.get_hold(hold.id)

    async def end_hold(self, origin: Origin, hold_id: str) -> Hold:
        """Ends a hold; changes nothing if it has ended. Raises NotFound."""
        hold = await self.get_hold(hold_id)
        if hold.ended_at is not None:
            return hold
        act = HoldEnded(hold_id=hold.id, project_id=hold.project_id)

        async def store(db: Connection) -> None:
            await retention.lock(db)
            if (await retention.get_hold(db, hold_id)).ended_at is not None:
                raise Rejection(f"Hold '{hold_id}' has ended.", code="hold_ended")
            await retention.end_hold(db, hold, self._writer.clock.now())

        await self._record(origin, act, store)
        return await self.get_hold(hold_id)

    async def get_hold(self, hold_id: str) -> Hold:
        """Raises NotFound."""
        async with self._writer.pool.acquire() as db:
            return await retention.get_hold(db, hold_id)

    async def list_holds(self, *, after: str | None, limit: int, project_id: str | None, has_ended: bool) -> Page[Hold]:
        """Returns up to `limit` holds, oldest first; also ended ones if `has_ended`. Raises NotFound for `after`."""
        async with self._writer.pool.acquire() as db:
            found, more = await retention.page_holds(
                db, after=after, limit=limit, project_id=project_id, has_ended=has_ended
            )
        return Page(found, more)

    async def count_idle(self, policy: Policy) -> int:
        """Returns how many threads the policy would delete now, at most MAX_COUNTED and a page."""
        since, count = idle_since(policy, self._writer.clock.now()), 0
        if since is not None:
            async for page in find_idle(self._writer, policy, since):
                count += len(page)
                if count >= MAX_COUNTED:
                    break
        return count

    async def _record(self, origin: Origin, act: RetentionEvent, store: Guard) -> None:
        """Appends the act in one transaction with its row."""
        origin = replace(origin, project_id=INSTALLATION_PROJECT)
        await self._writer.write(INSTALLATION, origin, INSTALLATION_ID, RecordActs((act,)), guard=store)


async def _require_thread(db: Connection, project_id: str, thread_id: str) -> None:
    head = await event_log.head(db, thread_id, THREAD)
    if head.project_id != project_id:
        raise NotFound("thread", thread_id)
    if await retention.is_released(db, thread_id):
        raise Rejection(f"Thread '{thread_id}' is deleted, and its data are erased.", param="thread_id", code="erased")
