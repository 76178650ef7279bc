"""The metadata of threads and assistants, by which lists are filtered.

Every pair of an object is a row, so that one index gives the objects with a pair in the order of their list: a page
costs the same if three of 100,000 objects match and if all of them do. A filter of several pairs scans the rarest pair;
its rows hold the other pairs of the object, also in the index, so that an object that does not match costs 0.4 µs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Literal, NamedTuple
from uuid import UUID

from events.envelope import RecordedEvent
from events.provenance import creation_time
from projections.rows import MAX_PAGE_BYTES, Cursor
from sql import queries
from sql.connection import Connection
from sql.row_operations import RowOperation

_SQL = queries("metadata")
# Objects with a pair are counted up to this number, to find the rarest.
COUNTED = 1000
_EARLIEST = datetime.min.replace(tzinfo=UTC)
_LATEST = datetime.max.replace(tzinfo=UTC)

FilteredType = Literal["thread", "assistant"]
ListPosition = tuple[datetime, str]


class ListBounds(NamedTuple):
    """The bounds of a list, both excluded: an object's time of creation, then its id."""

    lower_time: datetime
    lower_id: str
    upper_time: datetime
    upper_id: str


@dataclass(frozen=True, slots=True)
class Filter:
    """Matches objects that have all these pairs and were created at or after `since` and before `until`."""

    pairs: tuple[tuple[str, str], ...] = ()
    since: datetime | None = None
    until: datetime | None = None

    def bounds(self, lower: ListPosition | None, upper: ListPosition | None) -> ListBounds:
        """Returns the narrower of the cursor's bounds and the filter's own."""
        lower_time, lower_id = max(lower or (_EARLIEST, ""), (self.since or _EARLIEST, ""))
        upper_time, upper_id = min(upper or (_LATEST, ""), (self.until or _LATEST, ""))
        return ListBounds(lower_time, lower_id, upper_time, upper_id)

    def pairs_in(self, metadata: Mapping[str, str]) -> bool:
        """Returns whether this metadata has all pairs of the filter."""
        return all(metadata.get(key) == value for key, value in self.pairs)


NO_FILTER = Filter()


def hash_pair(key: str, value: str) -> bytes:
    """Returns the hash under which a pair is stored. The texts have no NUL (service.wire.storable_text)."""
    return sha256(key.encode() + b"\x00" + value.encode()).digest()


def shorten_hash(pair: bytes) -> UUID:
    """Returns the first half of a pair's hash, by which the rows of an object hold its other pairs."""
    return UUID(bytes=pair[:16])


def insert(object_type: FilteredType, created: RecordedEvent[Any], metadata: Mapping[str, str]) -> list[RowOperation]:
    """Returns the operation that adds the metadata of a new object; none if it has no metadata."""
    if not metadata:
        return []
    key = (created.stream_id, object_type, created.project_id, creation_time(created))
    return [RowOperation("metadata_pairs.insert", (*key, *_hash_pairs(metadata)))]


def replace(object_type: FilteredType, stream_id: str, metadata: Mapping[str, str]) -> list[RowOperation]:
    """Returns the operations that replace the metadata of an object whose row exists."""
    pairs, short = _hash_pairs(metadata)
    return [
        RowOperation("metadata_pairs.remove", (stream_id, pairs)),
        RowOperation(f"metadata_pairs.replace_{object_type}", (stream_id, pairs, short)),
    ]


def delete(stream_id: str) -> RowOperation:
    """Returns the operation that deletes the object's metadata."""
    return RowOperation("metadata_pairs.delete", (stream_id,))


def _hash_pairs(metadata: Mapping[str, str]) -> tuple[list[bytes], list[UUID]]:
    """Returns the hashes of the pairs, and the short hashes in order."""
    pairs = [hash_pair(key, value) for key, value in metadata.items()]
    return pairs, sorted(map(shorten_hash, pairs))


async def page(
    db: Connection,
    object_type: FilteredType,
    project_id: str,
    cursor: Cursor,
    only: Filter,
    lower: ListPosition | None,
    upper: ListPosition | None,
) -> Sequence[Mapping[str, Any]]:
    """Returns body and patches of up to `limit` + 1 objects in the order of the scan; those of assistants beyond
    MAX_PAGE_BYTES are None.

    The filter must have at least one pair.
    """
    pairs = [hash_pair(key, value) for key, value in only.pairs]
    first = pairs[0]
    if len(pairs) > 1:
        first = await db.fetchval(_SQL["rarest_pair"], project_id, object_type, pairs, COUNTED)
    bounds, marks, most = only.bounds(lower, upper), [*map(shorten_hash, pairs)], cursor.limit + 1
    if object_type == "thread":  # threads are small
        query = _SQL[f"list_thread_{cursor.scan}"]
        rows = await db.fetch(
            query,
            project_id,
            first,
            marks,
            bounds.lower_time,
            bounds.lower_id,
            bounds.upper_time,
            bounds.upper_id,
            most,
        )
    else:
        query = _SQL[f"list_assistant_{cursor.scan}"]
        rows = await db.fetch(
            query,
            project_id,
            first,
            marks,
            bounds.lower_time,
            bounds.lower_id,
            bounds.upper_time,
            bounds.upper_id,
            most,
            MAX_PAGE_BYTES,
        )
    return rows


async def count_threads(db: Connection, project_id: str, only: Filter) -> int:
    """Returns the number of threads that the filter matches."""
    pairs = [hash_pair(key, value) for key, value in only.pairs]
    within = only.bounds(None, None)
    if not pairs:
        count = await db.fetchval(
            _SQL["count_between"],
            project_id,
            within.lower_time,
            within.lower_id,
            within.upper_time,
            within.upper_id,
        )
        return int(count)
    first = await db.fetchval(_SQL["rarest_pair"], project_id, "thread", pairs, COUNTED)
    count = await db.fetchval(
        _SQL["count_matching"],
        project_id,
        first,
        [*map(shorten_hash, pairs)],
        within.lower_time,
        within.lower_id,
        within.upper_time,
        within.upper_id,
    )
    return int(count)
