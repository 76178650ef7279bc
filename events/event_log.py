"""The log in Postgres: the heads of streams and their events. This is the only module of `events` that does I/O.

An append expects the head as it was read: its version, its last leaf and its fence. It moves the head from there and
adds the events together with the operations on the views (`projections.append`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from events import codec, leaves
from events.actors import actor_text, parse_actor
from events.envelope import SCHEMA_VERSION, Event, Origin, RecordedEvent
from events.ids import IdSource
from events.leaves import Envelope
from events.software_version import SOFTWARE_VERSION
from events.streams import StreamType
from events.webhook_endpoint import WEBHOOK_EVENTS
from sql import queries
from sql.connection import Connection
from sql.row_operations import RowOperation, parts_of

READ_PAGE = 1000
# Bytes of contents after which a page of events ends. Its last event may exceed them.
READ_BYTES = 1024**2
# Bytes of contents that are loaded in one turn of the event loop. The last event may exceed them.
TURN_BYTES = 128 * 1024
# Larger than every version.
NO_END = 2**62
# Milliseconds that a transaction may hold a head and send nothing: less than others wait for it (`service.audit.acts`).
MAX_LOCKED_IDLE_MS = 2_000
# The first operations of an append, which belong to one statement: they move the head, add the events, and pass their
# leaves to the sequencer.
LOG_OPERATIONS = 3
# The newest generation of a view that this software writes (`projections/generations.py`). Postgres refuses the appends
# of software whose epoch is lower than that of the database.
VIEW_EPOCH = 0
# An append that encrypts writes an epoch that is higher by this. Once an installation is encrypted, Postgres refuses
# lower ones: the appends of processes that do not know of it yet, and those of older software.
ENCRYPTED_EPOCHS = 1_000_000
_SQL = queries("event_log")


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a stream. `state` is its state as JSON, in the schema `state_schema`. Version 0 means: no stream.

    `leaf` is the leaf of the last event. `fence` changes if the stream's views are rewritten under the same version.
    """

    version: int
    at: datetime | None
    state_schema: int
    state: bytes
    project_id: str | None
    leaf: bytes
    fence: int


NO_STREAM = Head(version=0, at=None, state_schema=0, state=b"", project_id=None, leaf=leaves.NO_LEAF, fence=0)


async def head(db: Connection, stream_id: str, stream_type: StreamType[Any, Any]) -> Head:
    """Returns the head of a stream, or NO_STREAM if the stream does not exist."""
    row = await db.fetchrow(_SQL["head"], stream_id, stream_type.name)
    return NO_STREAM if row is None else Head(**row)


async def lock_head(db: Connection, stream_id: str) -> None:
    """Waits until no other transaction changes the head, and keeps others away until this transaction ends.

    Postgres ends the connection of a process that freezes meanwhile, after MAX_LOCKED_IDLE_MS.
    """
    await db.execute(_SQL["lock_head"], stream_id, str(MAX_LOCKED_IDLE_MS))


@dataclass(frozen=True, slots=True)
class EventPage:
    """Some events of a stream in order. `more` says if further ones follow."""

    recorded: list[RecordedEvent[codec.AnyEvent]]
    more: bool


@dataclass(frozen=True, slots=True)
class SealedEvents:
    """The columns of events that are computed when they are appended, one element an event, and the head after them."""

    contents: list[bytes]
    commitments: list[bytes]
    leaves: list[bytes]
    head: Head


def seal(
    stream_type: StreamType[Any, Any],
    expected: Head,
    recorded: Sequence[RecordedEvent[Event]],
    state: bytes,
    *,
    ids: IdSource,
) -> SealedEvents:
    """Returns the contents, commitments and leaves of the events, which follow the head `expected`.

    `state` is the JSON of the state after the last event; `ids` is the source of the salts.
    """
    contents, commitments, chain, previous = [], [], [], expected.leaf
    for entry in recorded:
        content = leaves.salt_content(codec.dump(entry.event), ids.new_salt())
        commitment = leaves.commit(content)
        previous = leaves.hash_leaf(_envelope(entry), commitment, previous)
        contents.append(content)
        commitments.append(commitment)
        chain.append(previous)
    last = recorded[-1]
    head = Head(
        version=last.version,
        at=last.at,
        state_schema=stream_type.state_schema,
        state=state,
        project_id=expected.project_id or last.project_id,
        leaf=previous,
        fence=expected.fence,
    )
    return SealedEvents(contents, commitments, chain, head)


def append_operations(
    stream_id: str,
    stream_type: StreamType[Any, Any],
    expected: Head,
    recorded: Sequence[RecordedEvent[Event]],
    sealed: SealedEvents,
    *,
    is_encrypted: bool,
) -> list[RowOperation]:
    """Returns the operations that move the head and add `recorded` (versions expected.version + 1, …), in this order.
    Those of large events are several operations.

    The first operation finds no row if the head is not `expected`. The first LOG_OPERATIONS belong together. The last
    one, which is left out if no endpoint can ask for these types, adds the deliveries of the events to webhooks. If the
    append `is_encrypted`, the caller seals the values (`sql.seals`).
    """
    types = [entry.event.type for entry in recorded]  # type: ignore[attr-defined]
    last = recorded[-1]
    origin = (last.project_id, actor_text(last.actor), last.request_id)
    # The last value is the id of the key, which `sql.seals` sets if the contents are encrypted.
    envelope = (last.at, *origin, last.cause, SCHEMA_VERSION, SOFTWARE_VERSION, leaves.ALGORITHM, last.client, None)
    first, *others = (
        RowOperation(
            "events.insert",
            (
                *(stream_id, expected.version + part.start),
                *(column[part] for column in (types, sealed.contents, sealed.commitments, sealed.leaves)),
                *envelope,
            ),
        )
        for part in parts_of(sealed.contents)
    )
    # The sequencer's order follows these times, so they never decrease within a stream.
    at = last.at if expected.at is None else max(last.at, expected.at)
    pending = (stream_id, expected.version + 1, at, *origin, types, b"".join(sealed.leaves))
    operations = [
        _move_head(stream_id, stream_type, expected, sealed.head, view_epoch(is_encrypted=is_encrypted)),
        first,
        RowOperation("log_pending.insert", pending),
        *others,
    ]
    if not WEBHOOK_EVENTS.keys().isdisjoint(types):
        delivered = (stream_id, expected.version, types, last.project_id)
        operations.append(RowOperation("webhook_deliveries.insert", delivered))
    return operations


def view_epoch(*, is_encrypted: bool) -> int:
    """Returns the epoch that a write of this software to a head has."""
    return VIEW_EPOCH + ENCRYPTED_EPOCHS if is_encrypted else VIEW_EPOCH


def _move_head(
    stream_id: str, stream_type: StreamType[Any, Any], expected: Head, head: Head, epoch: int
) -> RowOperation:
    after = (head.version, head.at, head.state_schema, head.state, head.leaf, epoch)
    if expected.version == 0:
        return RowOperation("streams.open", (stream_id, stream_type.name, head.project_id, *after))
    key = (stream_id, expected.version, expected.leaf, expected.fence)
    return RowOperation("streams.move", (*key, *after, stream_type.name))


def _envelope(entry: RecordedEvent[Event]) -> Envelope:
    return Envelope(
        algorithm=leaves.ALGORITHM,
        stream_id=entry.stream_id,
        version=entry.version,
        type=entry.event.type,  # type: ignore[attr-defined]
        at=entry.at,
        project_id=entry.project_id,
        actor=actor_text(entry.actor),
        request_id=entry.request_id,
        cause=entry.cause,
        client=entry.client,
        schema_version=SCHEMA_VERSION,
        software_version=SOFTWARE_VERSION,
    )


async def read(
    db: Connection, stream_id: str, after: int = 0, limit: int = READ_PAGE
) -> list[RecordedEvent[codec.AnyEvent]]:
    """Returns up to `limit` events of a stream with versions above `after`, in order.

    A page also ends after READ_BYTES of contents, so it may be followed by another one although it is shorter than the
    limit. It is empty only if there are no more events.
    """
    return await _load_events(await db.fetch(_SQL["read"], stream_id, after, limit, READ_BYTES))


async def read_range(db: Connection, stream_id: str, first: int, last: int) -> list[RecordedEvent[codec.AnyEvent]]:
    """Returns the events of a stream from version `first` to version `last`."""
    recorded: list[RecordedEvent[codec.AnyEvent]] = []
    while len(recorded) <= last - first:
        limit = min(READ_PAGE, last - first + 1 - len(recorded))
        recorded += await read(db, stream_id, after=first - 1 + len(recorded), limit=limit)
    return recorded


async def versions(db: Connection, stream_ids: Sequence[str]) -> dict[str, int]:
    """Returns the versions of those streams that exist, by stream id."""
    return {row["stream_id"]: row["version"] for row in await db.fetch(_SQL["versions"], list(stream_ids))}


async def read_types(
    db: Connection, stream_id: str, types: Sequence[str], *, after: int, until: int, limit: int = READ_PAGE
) -> EventPage:
    """Returns up to `limit` events of these types with versions above `after` and up to `until`, in order.

    A page also ends after READ_BYTES of contents.
    """
    rows = await db.fetch(_SQL["read_types"], stream_id, after, until, list(types), limit + 1, READ_BYTES)
    recorded = await _load_events([row for row in rows[:limit] if row["content"] is not None])
    return EventPage(recorded, more=len(rows) > len(recorded))


async def _load_events(rows: Sequence[Mapping[str, Any]]) -> list[RecordedEvent[codec.AnyEvent]]:
    """Returns the events of the rows. Other work gets its turn of the event loop after every TURN_BYTES bytes."""
    recorded, size = [], 0
    for row in rows:
        if size >= TURN_BYTES:
            await asyncio.sleep(0)
            size = 0
        recorded.append(load_event(row))
        size += len(row["content"])
    return recorded


def load_event(row: Mapping[str, Any]) -> RecordedEvent[codec.AnyEvent]:
    """Returns the event of a row with the columns of `read`. Raises the errors of `codec.load`."""
    return RecordedEvent(
        stream_id=row["stream_id"],
        version=row["version"],
        at=row["at"],
        event=codec.load(leaves.content_json(row["content"]), row["schema_version"]),
        project_id=row["project_id"],
        actor=parse_actor(row["actor"]),
        request_id=row["request_id"],
        cause=row["cause"],
        client=row["client"],
    )


def number_events(
    stream_id: str, after: int, events: Sequence[Event], at: datetime, origin: Origin
) -> list[RecordedEvent[Any]]:
    """Returns the events with the versions that follow `after`, all with the same time and origin."""
    return [
        RecordedEvent(
            stream_id=stream_id,
            version=after + offset,
            at=at,
            event=event,
            project_id=origin.project_id,
            actor=origin.actor,
            request_id=origin.request_id,
            cause=origin.cause,
            client=origin.client,
        )
        for offset, event in enumerate(events, start=1)
    ]
