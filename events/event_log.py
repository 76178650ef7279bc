"""The log in Postgres: heads and events, appended under an expected version. The only module here that does I/O.

An append moves the stream's head from the version it expects and adds the events behind it, inside the transaction of
the caller, who projects in the same one. Where the head has moved, the append raises `VersionConflict` and the caller's
transaction rolls back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from events import codec
from events.actors import actor_text, parse_actor
from events.envelope import SCHEMA_VERSION, Event, Origin, RecordedEvent
from events.software_version import SOFTWARE_VERSION
from events.streams import StreamType
from sql import queries
from sql.connection import Connection

READ_PAGE = 1000
_SQL = queries("store")


class VersionConflict(Exception):
    """The stream is not at the version that the append expected."""


@dataclass(frozen=True, slots=True)
class Head:
    """A stream's head. `state` is its folded state as JSON, of schema `state_schema`; version 0 is no stream yet."""

    version: int
    at: datetime | None
    state_schema: int
    state: bytes
    project_id: str | None


NO_STREAM = Head(version=0, at=None, state_schema=0, state=b"", project_id=None)


async def head(db: Connection, stream_id: str, stream_type: StreamType[Any, Any]) -> Head:
    """The head of a stream, or NO_STREAM."""
    row = await db.fetchrow(_SQL["head"], stream_id, stream_type.name)
    return NO_STREAM if row is None else Head(**row)


async def append(
    db: Connection,
    stream_id: str,
    stream_type: StreamType[Any, Any],
    expected: int,
    recorded: Sequence[RecordedEvent[Event]],
    state: bytes,
) -> None:
    """Adds `recorded` (versions expected + 1, …) and moves the head. Needs an open transaction.

    Raises VersionConflict where the stream is not at `expected`.
    """
    last, schema = recorded[-1], stream_type.state_schema
    if expected == 0:
        args = (stream_id, stream_type.name, last.project_id, last.version, last.at, schema, state)
        moved = await db.fetchval(_SQL["open_stream"], *args)
    else:
        moved = await db.fetchval(_SQL["move_head"], stream_id, expected, last.version, last.at, schema, state)
    if moved is None:
        raise VersionConflict(stream_id)
    await db.execute(
        _SQL["append"],
        stream_id,
        expected,
        [entry.event.type for entry in recorded],  # type: ignore[attr-defined]
        [codec.dump(entry.event) for entry in recorded],
        last.at,
        last.project_id,
        actor_text(last.actor),
        last.request_id,
        last.cause,
        SCHEMA_VERSION,
        SOFTWARE_VERSION,
    )


async def read(
    db: Connection, stream_id: str, after: int = 0, limit: int = READ_PAGE
) -> list[RecordedEvent[codec.AnyEvent]]:
    """Up to `limit` events of a stream behind version `after`, in order."""
    return [_recorded(row) for row in await db.fetch(_SQL["read"], stream_id, after, limit)]


async def read_range(db: Connection, stream_id: str, first: int, last: int) -> list[RecordedEvent[codec.AnyEvent]]:
    """Returns the events of a stream from version `first` to version `last`."""
    recorded: list[RecordedEvent[codec.AnyEvent]] = []
    while len(recorded) <= last - first:
        limit = min(READ_PAGE, last - first + 1 - len(recorded))
        recorded += await read(db, stream_id, after=first - 1 + len(recorded), limit=limit)
    return recorded


async def versions(db: Connection, stream_ids: Sequence[str]) -> dict[str, int]:
    """The versions of those of the streams that there are."""
    return {row["stream_id"]: row["version"] for row in await db.fetch(_SQL["versions"], list(stream_ids))}


async def read_types(
    db: Connection, stream_id: str, types: Sequence[str], *, after: int, until: int, limit: int = READ_PAGE
) -> list[RecordedEvent[codec.AnyEvent]]:
    """Up to `limit` events of these types behind version `after` and up to version `until`, in order."""
    rows = await db.fetch(_SQL["read_types"], stream_id, after, until, list(types), limit)
    return [_recorded(row) for row in rows]


def _recorded(row: Mapping[str, Any]) -> RecordedEvent[codec.AnyEvent]:
    return RecordedEvent(
        stream_id=row["stream_id"],
        version=row["version"],
        at=row["at"],
        event=codec.load(row["content"], row["schema_version"]),
        project_id=row["project_id"],
        actor=parse_actor(row["actor"]),
        request_id=row["request_id"],
        cause=row["cause"],
    )


def number_events(
    stream_id: str, after: int, events: Sequence[Event], at: datetime, origin: Origin
) -> list[RecordedEvent[Any]]:
    """Gives events their places behind version `after`."""
    return [
        RecordedEvent(
            stream_id, after + place, at, event, origin.project_id, origin.actor, origin.request_id, origin.cause
        )
        for place, event in enumerate(events, start=1)
    ]
