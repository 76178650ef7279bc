"""The audit feed: the events of the log in the order of their indexes.

An index is a place in the log for good: a reader that remembers the index of its last event misses nothing that is
committed later, also after a restore. No index is given out again after a restore, so a reader that is ahead of the
restored log goes on with the new epoch, and `find_lost` says that events which it has read were lost. Filters use the
indexes of the table log_ranges.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from service.audit.log_tree import SizedEpoch
from sql import queries
from sql.connection import Connection

_SQL = queries("audit_feed")
# Bytes of contents after which a page with contents ends. Its last event may exceed them.
MAX_PAGE_BYTES = 4 * 1024**2


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Conditions on events, which all must hold. A null condition, or an empty list of types, lets all through."""

    project_id: str | None = None
    actor: str | None = None
    stream_id: str | None = None
    request_id: str | None = None
    types: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """An event of the log. `content` is its salt and JSON, null if it was not asked for.

    `client_content` is the salt and the JSON of the client of the request, null if there is none or it was deleted.
    """

    log_index: int
    stream_id: str
    version: int
    type: str
    at: datetime
    project_id: str
    actor: str
    request_id: str | None
    cause: str | None
    client: bytes | None
    algorithm: int
    schema_version: int
    software_version: str
    commitment: bytes
    leaf: bytes
    content_size: int
    client_content: bytes | None = field(repr=False)
    content: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Events in order, and whether others follow them now."""

    events: Sequence[AuditEvent]
    more: bool


async def read_page(
    db: Connection, wanted: AuditFilter, *, after: int, limit: int, has_contents: bool = False
) -> AuditPage:
    """Returns up to `limit` events with indexes above `after`. A page with contents also ends after MAX_PAGE_BYTES."""
    return await _read(db, _SQL["page"], after + 1, wanted, limit, has_contents=has_contents)


async def read_page_down(
    db: Connection, wanted: AuditFilter, *, below: int, limit: int, has_contents: bool = False
) -> AuditPage:
    """Returns up to `limit` events with indexes below `below`, the newest first, bounded as those of `read_page`."""
    return await _read(db, _SQL["page_down"], below, wanted, limit, has_contents=has_contents)


async def _read(
    db: Connection, query: str, bound: int, wanted: AuditFilter, limit: int, *, has_contents: bool
) -> AuditPage:
    async with db.transaction(readonly=True):
        await db.execute(_SQL["plan_with_values"])
        rows = await db.fetch(
            query,
            bound,
            wanted.project_id,
            wanted.actor,
            wanted.stream_id,
            wanted.request_id,
            list(wanted.types) or None,
            wanted.since,
            wanted.until,
            limit + 1,
        )
    events = [AuditEvent(**row) for row in rows[:limit]]
    if not has_contents:
        return AuditPage(events, len(rows) > limit)
    kept = _bound(events)
    return AuditPage(await _add_contents(db, kept), len(rows) > len(kept))


async def read_newest(
    db: Connection,
    *,
    types: Sequence[str],
    projects: Sequence[str] | None,
    actors: Sequence[str] | None,
    stream_ids: Sequence[str] | None,
    newer_than: int,
    older_than: int,
    since: datetime | None,
    until: datetime | None,
    limit: int,
) -> AuditPage:
    """Returns up to `limit` events of these types, the newest first, with contents unless they were erased.

    Their indexes are between `newer_than` and `older_than`, neither included. A null condition lets all through.
    """
    async with db.transaction(readonly=True):
        await db.execute(_SQL["plan_with_values"])
        rows = await db.fetch(
            _SQL["page_newest"],
            newer_than,
            older_than,
            list(types),
            None if projects is None else list(projects),
            None if actors is None else list(actors),
            None if stream_ids is None else list(stream_ids),
            since,
            until,
            limit + 1,
        )
    return AuditPage([AuditEvent(**row) for row in rows[:limit]], len(rows) > limit)


async def load_end(db: Connection) -> int:
    """Returns the index after the last event of the log."""
    end: int | None = await db.fetchval(_SQL["end"])
    return end or 0


def find_lost(epochs: Sequence[SizedEpoch], after: int) -> int | None:
    """Returns the first of the indexes up to `after` whose events a restore removed; None if there are none."""
    for sized in epochs:
        following = sized.epoch.next_index
        if sized.end <= after and (following is None or after < following):
            return sized.end
    return None


def _bound(events: Sequence[AuditEvent]) -> Sequence[AuditEvent]:
    """Returns the first events, as many as fill MAX_PAGE_BYTES with their contents, and at least one."""
    size = 0
    for count, event in enumerate(events):
        if size >= MAX_PAGE_BYTES:
            return events[:count]
        size += event.content_size
    return events


async def _add_contents(db: Connection, events: Sequence[AuditEvent]) -> Sequence[AuditEvent]:
    streams, versions = [event.stream_id for event in events], [event.version for event in events]
    rows = await db.fetch(_SQL["contents"], streams, versions)
    contents = {(row["stream_id"], row["version"]): row["content"] for row in rows}
    return [replace(event, content=contents.get((event.stream_id, event.version))) for event in events]
