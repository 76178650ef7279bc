"""Rebuilds the views of a stream from its events, or compares them.

Each function holds the stream's head while it works, so appends to this stream wait, and the views never differ from
the log in between. The rows of a deleted thread are deleted with it; deleted messages and assistants keep a row, as
cursors.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from events import event_log
from events.streams import StreamType, stream_type_named
from projections.views import VIEWS, row_operations
from sql import queries
from sql.connection import Connection
from sql.row_operations import execute_in_order

_SQL = queries("rebuild")
STREAMS_PAGE = 500


@dataclass(frozen=True, slots=True)
class Difference:
    """A row that differs from the log: its JSON as served and as rebuilt, or None if the row is
    missing on that side.
    """

    view: str
    id: str
    served: str | None
    rebuilt: str | None


async def rebuild(db: Connection, stream_id: str) -> None:
    """Deletes the stream's rows and projects its events again, in one transaction. Does nothing if
    there is no stream.
    """
    async with db.transaction():
        held = await db.fetchrow(_SQL["hold"], stream_id)
        if held is not None:
            await _again(db, stream_id, stream_type_named(held["kind"]), held["version"])


async def verify(db: Connection, stream_id: str) -> list[Difference]:
    """Returns the rows that differ from the log; empty if there are none. Changes nothing."""
    async with _undone(db):
        held = await db.fetchrow(_SQL["hold"], stream_id)
        if held is None:
            return []
        stream_type = stream_type_named(held["kind"])
        served = await _rows(db, stream_id, stream_type)
        await _again(db, stream_id, stream_type_named(held["kind"]), held["version"])
        rebuilt = await _rows(db, stream_id, stream_type)
    keys = sorted(served.keys() | rebuilt.keys())
    return [
        Difference(view, id, served.get((view, id)), rebuilt.get((view, id)))
        for view, id in keys
        if served.get((view, id)) != rebuilt.get((view, id))
    ]


@asynccontextmanager
async def as_of(db: Connection, stream_id: str, version: int) -> AsyncIterator[None]:
    """Shows the stream as of `version` to every query on this connection while the context is open."""
    async with _undone(db):
        held = await db.fetchrow(_SQL["hold"], stream_id)
        if held is not None:
            await _again(db, stream_id, stream_type_named(held["kind"]), min(version, held["version"]))
        yield


async def list_streams(db: Connection) -> AsyncIterator[str]:
    """Yields the ids of all streams, page by page."""
    last = ""
    while page := await db.fetch(_SQL["streams"], last, STREAMS_PAGE):
        for row in page:
            yield row["stream_id"]
        last = page[-1]["stream_id"]


@asynccontextmanager
async def _undone(db: Connection) -> AsyncIterator[None]:
    """Opens a transaction that is always rolled back."""
    transaction = db.transaction()
    await transaction.start()
    try:
        yield
    finally:
        await transaction.rollback()


async def _again(db: Connection, stream_id: str, stream_type: StreamType[Any, Any], until: int) -> None:
    """Projects the events of the stream up to version `until`, page by page."""
    if not VIEWS[stream_type]:
        return
    await db.execute(_SQL[f"drop_{stream_type.name}"], stream_id)
    version, state = 0, stream_type.initial(stream_id)
    while version < until:
        page = await event_log.read(db, stream_id, after=version, limit=min(event_log.READ_PAGE, until - version))
        if not page:
            raise RuntimeError(f"{stream_id} has no event {version + 1}, and its head says {until}")
        await execute_in_order(db, row_operations(stream_type, page, state))
        for recorded in page:
            state = stream_type.evolve(state, recorded)
        version = page[-1].version


async def _rows(db: Connection, stream_id: str, stream_type: StreamType[Any, Any]) -> dict[tuple[str, str], str]:
    if not VIEWS[stream_type]:
        return {}
    found = await db.fetch(_SQL[f"rows_{stream_type.name}"], stream_id)
    return {(row["view"], row["id"]): row["content"] for row in found}
