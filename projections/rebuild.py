"""Views are a cache: these functions make a stream's rows again from its events, or look whether they are right.

All hold the stream's head while they work, so that appends to this one stream wait and the views never differ from the
log in between. A deleted thread's rows vanish with it; deleted messages and assistants keep a row, as cursors.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from events import event_log
from events.streams import StreamType, stream_type_named
from projections.views import VIEWS
from sql import queries
from sql.connection import Connection

_SQL = queries("rebuild")
STREAMS_PAGE = 500


@dataclass(frozen=True, slots=True)
class Difference:
    """A row that is not what the log says: its JSON as served and as rebuilt, None where there is no such row."""

    view: str
    id: str
    served: str | None
    rebuilt: str | None


async def rebuild(db: Connection, stream_id: str) -> None:
    """Drops the stream's rows and projects its events again, in one transaction. Nothing where there is no stream."""
    async with db.transaction():
        held = await db.fetchrow(_SQL["hold"], stream_id)
        if held is not None:
            await _again(db, stream_id, stream_type_named(held["kind"]), held["version"])


async def verify(db: Connection, stream_id: str) -> list[Difference]:
    """Where the views served differ from those that the log gives; empty where all is well. Changes nothing."""
    async with _undone(db):
        held = await db.fetchrow(_SQL["hold"], stream_id)
        if held is None:
            return []
        stream_type = stream_type_named(held["kind"])
        served = await _rows(db, stream_id, stream_type)
        await _again(db, stream_id, stream_type_named(held["kind"]), held["version"])
        rebuilt = await _rows(db, stream_id, stream_type)
    keys = sorted(served.keys() | rebuilt.keys())
    return [Difference(*key, served.get(key), rebuilt.get(key)) for key in keys if served.get(key) != rebuilt.get(key)]


@asynccontextmanager
async def as_of(db: Connection, stream_id: str, version: int) -> AsyncIterator[None]:
    """While it lasts, every reader that uses this connection sees the stream as it was at `version`."""
    async with _undone(db):
        held = await db.fetchrow(_SQL["hold"], stream_id)
        if held is not None:
            await _again(db, stream_id, stream_type_named(held["kind"]), min(version, held["version"]))
        yield


async def list_streams(db: Connection) -> AsyncIterator[str]:
    """The ids of all streams, for whoever goes through them one by one."""
    last = ""
    while page := await db.fetch(_SQL["streams"], last, STREAMS_PAGE):
        for row in page:
            yield row["stream_id"]
        last = page[-1]["stream_id"]


@asynccontextmanager
async def _undone(db: Connection) -> AsyncIterator[None]:
    """A transaction that is rolled back whatever happens."""
    transaction = db.transaction()
    await transaction.start()
    try:
        yield
    finally:
        await transaction.rollback()


async def _again(db: Connection, stream_id: str, stream_type: StreamType[Any, Any], until: int) -> None:
    """Rows of the stream from its events up to version `until`, page by page."""
    await db.execute(_SQL[f"drop_{stream_type.name}"], stream_id)
    version = 0
    while version < until:
        page = await event_log.read(db, stream_id, after=version, limit=min(event_log.READ_PAGE, until - version))
        if not page:
            raise RuntimeError(f"{stream_id} has no event {version + 1}, and its head says {until}")
        for project in VIEWS[stream_type]:
            await project(db, page)
        version = page[-1].version


async def _rows(db: Connection, stream_id: str, stream_type: StreamType[Any, Any]) -> dict[tuple[str, str], str]:
    found = await db.fetch(_SQL[f"rows_{stream_type.name}"], stream_id)
    return {(row["view"], row["id"]): row["content"] for row in found}
