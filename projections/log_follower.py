"""Rows that a follower makes of the events of the log, in the order of its indexes. No append writes them.

Each follower has a table with its progress, and the blocks `lock`, `wait`, `forget`, `begin` and `move` in its queries.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from events import event_log
from events.envelope import RecordedEvent
from sql import queries
from sql.connection import Connection

_SQL = queries("log_follower")

# Adds the rows of events.
AddRows = Callable[[Connection, Sequence[RecordedEvent[Any]]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class LogPage:
    """Events of ranges of the log, the index after the ranges, and whether more may follow."""

    recorded: list[RecordedEvent[Any]]
    next_index: int
    more: bool


@dataclass(frozen=True, slots=True)
class LogFollower:
    """Makes rows of the events of some types. `queries` are its blocks, and `add` adds the rows of a page of events."""

    queries: Mapping[str, str]
    types: Sequence[str]
    add: AddRows

    async def follow(self, db: Connection, limit: int, *, waits: bool = False) -> bool:
        """Adds the rows of the next `limit` ranges of the log. Returns whether more may follow.

        If another process is at it, `waits` for it or does nothing. The caller must have opened a transaction.
        """
        first = await self._begin(db, limit, waits=waits)
        return first is not None and (await _add_page(db, [self], first, limit)).more

    async def rebuild(self, db: Connection, limit: int) -> None:
        """Makes all rows again from the log, `limit` ranges at a time. The caller must have opened a transaction.

        Readers see the old rows until it is committed; followers wait or do nothing.
        """
        progress = await db.fetchrow(self.queries["wait"])
        assert progress is not None, "a migration adds the progress"
        await self._refill(db, progress["current_epoch"] or 0, limit)

    async def _refill(self, db: Connection, epoch: int, limit: int) -> None:
        """Replaces all rows in this transaction, so that no reader counts too few."""
        await db.execute(self.queries["forget"])
        await db.execute(self.queries["begin"], epoch)
        first, more = 0, True
        while more:
            page = await _add_page(db, [self], first, limit)
            first, more = page.next_index, page.more

    async def _begin(self, db: Connection, limit: int, *, waits: bool = False) -> int | None:
        """Locks the progress. Returns the index from which rows are missing, or None if there is nothing to add.

        If a new epoch of the log has begun, it makes all rows again.
        """
        progress = await db.fetchrow(self.queries["wait" if waits else "lock"])
        if progress is None:
            return None
        if progress["epoch"] != progress["current_epoch"]:
            await self._refill(db, progress["current_epoch"], limit)
            return None
        first: int = progress["next_index"]
        return first


async def follow_together(db: Connection, followers: Sequence[LogFollower], limit: int) -> bool:
    """Does the same as `follow` of each follower. Followers at the same index share one read of the log.

    Returns whether more may follow for one of them. The caller must have opened a transaction.
    """
    places: dict[int, list[LogFollower]] = {}
    for follower in followers:
        first = await follower._begin(db, limit)
        if first is not None:
            places.setdefault(first, []).append(follower)
    pages = [await _add_page(db, same, first, limit) for first, same in places.items()]
    return any(page.more for page in pages)


async def _add_page(db: Connection, followers: Sequence[LogFollower], first: int, limit: int) -> LogPage:
    """Adds the rows of each follower for the next `limit` ranges from the index `first` on."""
    types = dict.fromkeys(type for follower in followers for type in follower.types)
    page = await read_page(db, first, list(types), limit)
    if page.next_index > first:
        for follower in followers:
            await follower.add(db, [entry for entry in page.recorded if entry.event.type in follower.types])
            await db.execute(follower.queries["move"], page.next_index)
    return page


def columns_of(rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    """Returns the columns of rows, of which there is at least one."""
    return [[row[place] for row in rows] for place in range(len(rows[0]))]


async def read_page(db: Connection, first: int, types: Sequence[str], limit: int) -> LogPage:
    """Returns the events of some types in up to `limit` ranges of the log from the index `first` on."""
    ranges = await db.fetch(_SQL["ranges"], first, list(types), limit)
    recorded = await read_ranges(db, [row for row in ranges if row["concerns"]], types)
    next_index = ranges[-1]["first_index"] + ranges[-1]["count"] if ranges else first
    return LogPage(recorded, next_index, more=len(ranges) == limit)


async def read_ranges(
    db: Connection, ranges: Sequence[Mapping[str, Any]], types: Sequence[str]
) -> list[RecordedEvent[Any]]:
    """Returns the events of some types in ranges of streams, each a row with stream_id, first_version and count."""
    if not ranges:
        return []
    rows = await db.fetch(
        _SQL["events"],
        [row["stream_id"] for row in ranges],
        [row["first_version"] for row in ranges],
        [row["first_version"] + row["count"] - 1 for row in ranges],
        list(types),
    )
    return [event_log.load_event(row) for row in rows]
