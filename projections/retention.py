"""How long threads are kept: the policies of projects, the legal holds, and what waits for its release.

Policies and holds are rows that are written in the transaction of their events; no rebuild makes them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from events.errors import NotFound
from projections.erasures import Erasure
from sql import queries
from sql.connection import Connection

# The advisory lock between the releases of deleted objects and changes of policies and holds.
RELEASE_LOCK = 0x4556_5452_4554_4E31
_SQL = queries("retention")
_FIRST = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Policy:
    """The policy of a project: days without an event after which a thread is deleted, and days for which the contents
    of a deleted thread are kept after its last event before the deletion. None if the rule does not apply.
    """

    project_id: str
    idle_days: int | None = None
    keep_days: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A legal hold on a thread, on the threads that have all pairs of `metadata`, or on all threads of the project."""

    id: str
    project_id: str
    thread_id: str | None
    metadata: Mapping[str, str] | None
    reason: str
    placed_at: datetime
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Deletion:
    """A deleted object that waits for its release. `last_at` is the time of its last event before the deletion."""

    erasure: Erasure
    last_at: datetime


@dataclass(frozen=True, slots=True)
class IdleThread:
    id: str
    created_at: datetime
    last_at: datetime


async def lock(db: Connection) -> None:
    """Lets no other process change policies or holds, or release anything, until the transaction ends."""
    await db.execute(_SQL["lock"], RELEASE_LOCK)


async def lock_shared(db: Connection) -> None:
    """Lets no process change policies or holds until the transaction ends."""
    await db.execute(_SQL["lock_shared"], RELEASE_LOCK)


async def get_policy(db: Connection, project_id: str) -> Policy:
    """Returns the policy of the project: one without rules if none was set."""
    row = await db.fetchrow(_SQL["policy"], project_id)
    return Policy(project_id) if row is None else Policy(**row)


async def list_policies(db: Connection) -> list[Policy]:
    """Returns the policies that have a rule."""
    return [Policy(**row) for row in await db.fetch(_SQL["policies"])]


async def set_policy(db: Connection, policy: Policy, at: datetime) -> None:
    """Stores the policy. What waits in the project is looked at again."""
    await db.execute(_SQL["set_policy"], policy.project_id, policy.idle_days, policy.keep_days, at)
    await db.execute(_SQL["review_again"], policy.project_id)
    await db.execute(_SQL["next_idle_scan"], 0.0)


async def active_holds(db: Connection, project_ids: Collection[str]) -> list[Hold]:
    """Returns the holds of the projects that have not ended."""
    return [_load(row) for row in await db.fetch(_SQL["active_holds"], sorted(project_ids))]


async def get_hold(db: Connection, hold_id: str) -> Hold:
    """Raises NotFound."""
    row = await db.fetchrow(_SQL["hold"], hold_id)
    if row is None:
        raise NotFound("hold", hold_id)
    return _load(row)


async def page_holds(
    db: Connection, *, after: str | None, limit: int, project_id: str | None, has_ended: bool
) -> tuple[list[Hold], bool]:
    """Returns up to `limit` holds behind the hold `after`, oldest first, and whether more follow. Raises NotFound."""
    last_time, last_id = _FIRST, ""
    if after is not None:
        last = await get_hold(db, after)
        last_time, last_id = last.placed_at, last.id
    rows = await db.fetch(_SQL["holds"], last_time, last_id, project_id, has_ended, limit + 1)
    return [_load(row) for row in rows[:limit]], len(rows) > limit


async def add_hold(db: Connection, hold: Hold) -> None:
    metadata = None if hold.metadata is None else orjson.dumps(dict(hold.metadata)).decode()
    await db.execute(_SQL["add_hold"], hold.id, hold.project_id, hold.thread_id, metadata, hold.reason, hold.placed_at)


async def end_hold(db: Connection, hold: Hold, at: datetime) -> None:
    """Ends the hold. What waits in its project is looked at again."""
    await db.execute(_SQL["end_hold"], hold.id, at)
    await db.execute(_SQL["review_again"], hold.project_id)
    await db.execute(_SQL["next_idle_scan"], 0.0)


async def is_released(db: Connection, thread_id: str) -> bool:
    """Whether the data of the deleted thread are erased, or about to be: then no hold can keep them."""
    return bool(await db.fetchval(_SQL["is_released"], thread_id))


async def count_waiting(db: Connection) -> dict[str, int]:
    """Returns how many deleted objects of each project wait for their release."""
    return {row["project_id"]: row["count"] for row in await db.fetch(_SQL["waiting_count"])}


async def claim_unreleased(db: Connection, limit: int) -> list[Deletion]:
    """Returns deletions that may be released. Other processes leave them alone until the transaction ends."""
    rows = await db.fetch(_SQL["claim_unreleased"], limit)
    return [
        Deletion(Erasure(**{name: value for name, value in row.items() if name != "last_at"}), row["last_at"])
        for row in rows
    ]


async def release(db: Connection, stream_ids: Sequence[str]) -> None:
    """Lets the eraser erase the data of these deleted objects."""
    await db.execute(_SQL["release"], list(stream_ids))


async def wait(db: Connection, waits: Mapping[str, float]) -> None:
    """Puts off the next look at each of these deletions by so many seconds."""
    await db.execute(_SQL["wait"], list(waits), list(waits.values()))


async def claim_idle_scan(db: Connection, seconds: float) -> bool:
    """Whether this process is to look for idle threads now. No other process does for `seconds`."""
    return await db.fetchval(_SQL["claim_idle_scan"], seconds) is not None


async def end_idle_scan(db: Connection, seconds: float) -> None:
    """Sets the time of the next look for idle threads."""
    await db.execute(_SQL["next_idle_scan"], seconds)


async def idle_threads(
    db: Connection, project_id: str, since: datetime, after: IdleThread | None, limit: int
) -> list[IdleThread]:
    """Returns threads that exist and have no event since `since`, behind the thread `after`, oldest first."""
    last_time, last_id = (_FIRST, "") if after is None else (after.created_at, after.id)
    rows = await db.fetch(_SQL["idle_threads"], project_id, since, last_time, last_id, limit)
    return [IdleThread(row["thread_id"], row["created_at"], row["last_at"]) for row in rows]


async def last_event_at(db: Connection, thread_id: str) -> datetime | None:
    """Returns the time of the thread's newest event; None if there is no such thread."""
    at: datetime | None = await db.fetchval(_SQL["last_event"], thread_id)
    return at


def _load(row: Mapping[str, Any]) -> Hold:
    metadata = row["metadata"]
    return Hold(**{**row, "metadata": orjson.loads(metadata) if isinstance(metadata, str) else metadata})
