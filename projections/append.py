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
from sql.connection import Connection, KeyStore, WritingKey, key_store
from sql.row_operations import (
    HeadMoved,
    OutdatedSoftware,
    RowOperation,
    block_names,
    execute_at_once,
    execute_with_head,
)
from sql.sealed_columns import SEALED_KINDS
from sql.seals import seal_operations

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


@dataclass(frozen=True, slots=True)
class _Encryption:
    """Whether the installation is encrypted, and the key of the stream if its kind is one that is."""

    is_on: bool
    key: WritingKey | None = None


_PLAIN = _Encryption(is_on=False)


async def append(db: Connection, new: Append[S], *, ids: IdSource, guard: Guard | None = None) -> Head:
    """Appends the events, or changes nothing. Returns the head after them.

    Raises VersionConflict, the errors of `guard`, RowMissing if the views differ from the log, OutdatedSoftware, and
    asyncpg's errors.
    """
    has_statement = guard is None and new.stream_type in MIXES
    keys = key_store(db)
    encryption = await _encryption(db, keys, new)
    if new.is_large:
        prepared = await asyncio.to_thread(_prepare, new, ids, encryption, has_statement=has_statement)
    else:
        prepared = _prepare(new, ids, encryption, has_statement=has_statement)
    try:
        if prepared.mix is not None:
            await execute_at_once(db, prepared.mix, prepared.operations)
        else:
            async with db.transaction():
                if guard is not None:
                    await guard(db)
                await execute_with_head(db, prepared.operations, at_once=event_log.LOG_OPERATIONS)
        has_new_key = encryption.key is not None and encryption.key.operation is not None
        if keys is not None and encryption.key is not None and has_new_key and not db.is_in_transaction():
            keys.keep(encryption.key.key)
        return prepared.head
    except HeadMoved:
        if keys is not None:
            keys.forget(new.stream_id)
            if not db.is_in_transaction():
                keys.drop_new(new.stream_id)
        raise VersionConflict(new.stream_id) from None
    except OutdatedSoftware:
        # If the installation was encrypted meanwhile, the next attempt encrypts.
        if keys is not None and not encryption.is_on:
            keys.ask_again()
            if not db.is_in_transaction() and await keys.is_on(db):
                raise VersionConflict(new.stream_id) from None
        raise
    except asyncpg.UniqueViolationError as error:
        if error.constraint_name == _EFFECTS_KEY:
            raise VersionConflict(new.stream_id) from None
        raise


async def _encryption(db: Connection, keys: KeyStore | None, new: Append[Any]) -> _Encryption:
    if keys is None or not await keys.is_on(db):
        return _PLAIN
    if new.stream_type.name not in SEALED_KINDS:
        return _Encryption(is_on=True)
    key = await keys.for_writing(db, new.stream_id, is_new=new.expected.version == 0)
    return _Encryption(is_on=True, key=key)


def _prepare(new: Append[Any], ids: IdSource, encryption: _Encryption, *, has_statement: bool) -> _PreparedAppend:
    state = new.stream_type.adapter.dump_json(new.after)
    sealed = event_log.seal(new.stream_type, new.expected, new.recorded, state, ids=ids)
    operations = _operations(new, sealed, is_encrypted=encryption.is_on)
    mix = find_mix(new.stream_type, block_names(operations)) if has_statement else None
    if encryption.key is not None:
        operations = seal_operations(operations, encryption.key.key)
        if (new_key := encryption.key.operation) is not None:
            operations.append(new_key)
            mix = None if mix is None else (*mix, new_key.block)
    return _PreparedAppend(operations, sealed.head, mix)


def _operations(new: Append[S], sealed: SealedEvents, *, is_encrypted: bool) -> list[RowOperation]:
    operations = event_log.append_operations(
        new.stream_id, new.stream_type, new.expected, new.recorded, sealed, is_encrypted=is_encrypted
    )
    operations += row_operations(new.stream_type, new.recorded, new.before)
    if new.effect is not None:
        first, last = new.recorded[0], new.recorded[-1]
        values = (new.stream_id, new.effect.seed, new.effect.place, first.version, last.version, last.at)
        operations.append(RowOperation("idempotency_effects.insert", values))
    return operations
