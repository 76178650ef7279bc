"""Metadata of threads and assistants, for the filters of lists.

Every pair of an object is a row, so one index gives the objects with a pair in the order of their list: a page costs
the same if three of 100,000 match or all of them. A filter of several pairs scans the rarest one, whose index entries
hold the object's other pairs: 0.4 µs for each entry that it skips.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Literal
from uuid import UUID

from projections.rows import Cursor
from sql import queries
from sql.connection import Connection

_SQL = queries("metadata")
# Objects with a pair are counted up to this number, to find the rarest.
COUNTED = 1000
_EARLIEST = datetime.min.replace(tzinfo=UTC)
_LATEST = datetime.max.replace(tzinfo=UTC)

FilteredType = Literal["thread", "assistant"]
ListPosition = tuple[datetime, str]


@dataclass(frozen=True, slots=True)
class Filter:
    """Objects that have all these pairs, created at or after `since` and before `until`."""

    pairs: tuple[tuple[str, str], ...] = ()
    since: datetime | None = None
    until: datetime | None = None

    def bounds(self, lower: ListPosition | None, upper: ListPosition | None) -> tuple[datetime, str, datetime, str]:
        """Returns the nearer of two positions, a cursor's and the filter's own. Both are exclusive."""
        lowest = max(lower or (_EARLIEST, ""), (self.since or _EARLIEST, ""))
        highest = min(upper or (_LATEST, ""), (self.until or _LATEST, ""))
        return *lowest, *highest

    def pairs_in(self, held: Mapping[str, str]) -> bool:
        return all(held.get(key) == value for key, value in self.pairs)


NO_FILTER = Filter()


def hash_pair(key: str, value: str) -> bytes:
    """Returns a pair as rows hold it. Its texts contain no NUL (service.wire.storable_text)."""
    return sha256(key.encode() + b"\x00" + value.encode()).digest()


def shorten_hash(pair: bytes) -> UUID:
    """Returns the half of a hashed pair that the rows of the object's other pairs hold."""
    return UUID(bytes=pair[:16])


async def put(db: Connection, kind: FilteredType, stream_id: str, metadata: Mapping[str, str]) -> None:
    """Replaces the object's metadata. Its own row must exist."""
    pairs = [hash_pair(*pair) for pair in metadata.items()]
    await db.execute(_SQL[f"replace_{kind}"], stream_id, pairs, sorted(map(shorten_hash, pairs)))


async def drop(db: Connection, stream_id: str) -> None:
    await db.execute(_SQL["delete"], stream_id)


async def page(
    db: Connection,
    kind: FilteredType,
    project_id: str,
    cursor: Cursor,
    found: Filter,
    lower: ListPosition | None,
    upper: ListPosition | None,
) -> Sequence[str]:
    """Returns the bodies of one object more than `limit`, in the order of the scan. `found` has at least one pair."""
    pairs = [hash_pair(*pair) for pair in found.pairs]
    first = pairs[0]
    if len(pairs) > 1:
        first = await db.fetchval(_SQL["common"], project_id, kind, pairs, COUNTED)
    lists = _SQL[f"list_thread_{cursor.scan}"] if kind == "thread" else _SQL[f"list_assistant_{cursor.scan}"]
    args = (project_id, first, [*map(shorten_hash, pairs)], *found.bounds(lower, upper), cursor.limit + 1)
    rows = await db.fetch(lists, *args)
    return [row["body"] for row in rows]


async def count_threads(db: Connection, project_id: str, found: Filter) -> int:
    """Returns the number of threads that match the filter."""
    pairs = [hash_pair(*pair) for pair in found.pairs]
    if not pairs:
        return int(await db.fetchval(_SQL["count_between"], project_id, *found.bounds(None, None)))
    first = await db.fetchval(_SQL["common"], project_id, "thread", pairs, COUNTED)
    args = (project_id, first, [*map(shorten_hash, pairs)], *found.bounds(None, None))
    return int(await db.fetchval(_SQL["count_found"], *args))
