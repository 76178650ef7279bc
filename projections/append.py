"""Appends events to a stream, together with everything that follows from them: the rows of its views, the deliveries to
webhooks, and the record of an effect under an Idempotency-Key.

The appends to most streams are one statement, which commits by itself. Those of the other streams are a transaction of
the same operations: some of their operations read rows that earlier ones write, or other changes belong to them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic

import asyncpg

from events import event_log
from events.envelope import RecordedEvent
from events.event_log import Head, SealedEvents
from events.ids import IdSource
from events.streams import S, StreamType
from projections.mixes import MIXES, find_mix
from projections.views import row_operations
from sql.connection import Connection
from sql.row_operations import HeadMoved, RowOperation, block_names, execute_at_once, execute_with_head

_EFFECTS_KEY = "idempotency_effects_pkey"

# Checks or changes something in the transaction of the append. Raises an error to prevent the append.
Guard = Callable[[Connection], Awaitable[None]]


class VersionConflict(Exception):
    """The head of the stream is not as the append expected, or another try of the request has made the append."""


@dataclass(frozen=True, slots=True)
class Effect:
    """The place of an append among those to its stream under the seed of an Idempotency-Key."""

    seed: bytes
    place: int


@dataclass(frozen=True, slots=True)
class Append(Generic[S]):
    """Events to append to a stream with the head `expected`, and the states before and after them.

    `is_large` if they are so large that their preparation would hold the event loop.
    """

    stream_type: StreamType[S, Any]
    stream_id: str
    expected: Head
    recorded: Sequence[RecordedEvent[Any]]
    before: S
    after: S
    effect: Effect | None = None
    is_large: bool = False


@dataclass(frozen=True, slots=True)
class _PreparedAppend:
    """The operations of an append, the head after it, and the mix of its statement, if there is one."""

    operations: list[RowOperation]
    head: Head
    mix: tuple[str, ...] | None


async def append(db: Connection, new: Append[S], *, ids: IdSource, guard: Guard | None = None) -> Head:
    """Appends the events, or changes nothing. Returns the head after them.

    Raises VersionConflict, the errors of `guard`, RowMissing if the views differ from the log, OutdatedSoftware, and
    asyncpg's errors.
    """
    has_statement = guard is None and new.stream_type in MIXES
    if new.is_large:
        prepared = await asyncio.to_thread(_prepare, new, ids, has_statement=has_statement)
    else:
        prepared = _prepare(new, ids, has_statement=has_statement)
    try:
        if prepared.mix is not None:
            await execute_at_once(db, prepared.mix, prepared.operations)
        else:
            async with db.transaction():
                if guard is not None:
                    await guard(db)
                await execute_with_head(db, prepared.operations, at_once=event_log.LOG_OPERATIONS)
        return prepared.head
    except HeadMoved:
        raise VersionConflict(new.stream_id) from None
    except asyncpg.UniqueViolationError as error:
        if error.constraint_name == _EFFECTS_KEY:
            raise VersionConflict(new.stream_id) from None
        raise


def _prepare(new: Append[Any], ids: IdSource, *, has_statement: bool) -> _PreparedAppend:
    state = new.stream_type.adapter.dump_json(new.after)
    sealed = event_log.seal(new.stream_type, new.expected, new.recorded, state, ids=ids)
    operations = _operations(new, sealed)
    mix = find_mix(new.stream_type, block_names(operations)) if has_statement else None
    return _PreparedAppend(operations, sealed.head, mix)


def _operations(new: Append[S], sealed: SealedEvents) -> list[RowOperation]:
    operations = event_log.append_operations(new.stream_id, new.stream_type, new.expected, new.recorded, sealed)
    operations += row_operations(new.stream_type, new.recorded, new.before)
    if new.effect is not None:
        first, last = new.recorded[0], new.recorded[-1]
        values = (new.stream_id, new.effect.seed, new.effect.place, first.version, last.version, last.at)
        operations.append(RowOperation("idempotency_effects.insert", values))
    return operations
