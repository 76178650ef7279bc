"""Rebuilds the views of streams from their events, or compares them.

A rebuild folds the events of streams into rows in memory (`projections/row_store/`), compares them with the rows of the
views, and replaces those that differ in one transaction. It holds the heads of the streams meanwhile, so appends to
them wait, and readers see the old rows or the new ones. The rows of a deleted thread are deleted with it; deleted
messages and assistants keep a row, as cursors. The states of heads are rebuilt too, unless software of another schema
wrote them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg

from events import event_log
from events.envelope import RecordedEvent
from events.streams import StreamType, stream_type_named
from projections.row_differences import Difference, compare_rows
from projections.row_fold import CannotFold, RowFold
from projections.row_store.tables import PRIMARY_KEYS
from projections.views import TABLES, tables_of
from sql import queries
from sql.connection import Connection, key_store
from sql.row_operations import execute_in_order, outdated_or
from sql.sealed_columns import SEALED_KINDS, SEALED_TABLES
from sql.seals import StreamKey, seal_row

STREAMS_PAGE = 500
# Events that are fetched at once.
PREFETCH = 200
# Comparisons of streams that are not locked; those that an append moves meanwhile are locked afterwards.
UNLOCKED_ATTEMPTS = 2
# The name under which the states of heads, which are no view's rows, are rebuilt and compared.
HEADS = "heads"
ALL_TABLES = frozenset(table for tables in TABLES.values() for table in tables)
ALL_VIEWS = ALL_TABLES | {HEADS}
_SQL = queries("rebuild")
_ENCRYPTION = queries("encryption")


@dataclass(frozen=True, slots=True)
class _Head:
    stream_type: StreamType[Any, Any]
    version: int
    fence: int
    state_schema: int
    state: bytes
    erased_version: int

    @property
    def has_state(self) -> bool:
        """Whether the state is one that this software reads and writes."""
        return self.state_schema == self.stream_type.state_schema


@dataclass(frozen=True, slots=True)
class _Comparison:
    """Streams with their heads, and the rows and states that differ from their events, by stream."""

    heads: Mapping[str, _Head]
    differences: list[Difference]

    @property
    def events(self) -> int:
        return sum(head.version for head in self.heads.values())

    def of(self, stream_ids: Collection[str]) -> list[Difference]:
        """Returns the differences of these streams."""
        return [difference for difference in self.differences if difference.stream_id in stream_ids]


async def rebuild(db: Connection, stream_ids: Sequence[str], views: Collection[str] = ALL_VIEWS) -> int:
    """Replaces the rows of the streams that differ from their events in these views. Returns the number of events.

    The rows are compared without locks. Then one short transaction holds the heads of the streams that differ, and
    writes; a stream that has moved meanwhile is compared again, the last time while its head is held. In a transaction
    of the caller, all heads are held from the start. Streams that do not exist are left out. Raises CannotFold.
    """
    events, left = 0, list(stream_ids)
    for _ in range(0 if db.is_in_transaction() else UNLOCKED_ATTEMPTS):
        comparison = await _compare(db, left, views)
        changed = {difference.stream_id: None for difference in comparison.differences}
        held = await _write_unmoved(db, comparison, list(changed)) if changed else set()
        left = [id for id in changed if id not in held]
        events += comparison.events - sum(comparison.heads[id].version for id in left)
        if not left:
            return events
    async with db.transaction():
        comparison = await _fold_and_compare(db, _heads(await _hold(db, left)), views)
        await _write(db, comparison.heads, comparison.differences)
    return events + comparison.events


async def compare(
    db: Connection, stream_ids: Sequence[str], views: Collection[str] = ALL_VIEWS
) -> tuple[int, list[Difference]]:
    """Returns the number of events of the streams, and the rows that differ from them.

    Reads one snapshot, locks nothing and changes nothing. Raises CannotFold.
    """
    comparison = await _compare(db, stream_ids, views)
    return comparison.events, comparison.differences


async def verify(db: Connection, stream_id: str) -> list[Difference]:
    """Returns the rows of the stream that differ from the log; see `compare`."""
    _, differences = await compare(db, [stream_id])
    return differences


async def seal_stream(db: Connection, stream_id: str) -> None:
    """Encrypts what is plain of the stream: its rows, its state and the contents of its events.

    The connection's role must own the table of events. One transaction holds the head meanwhile; commitments and leaves
    stay as they are.
    """
    async with db.transaction():
        heads = _heads(await _hold(db, [stream_id]))
        if not heads:
            return
        head, differences = heads[stream_id], list[Difference]()
        differences.append(Difference(view=HEADS, key=(stream_id,), served=None, rebuilt={"state": head.state}))
        for table in tables_of(head.stream_type):
            if (layout := SEALED_TABLES.get(table)) is not None:
                for row in await db.fetch(_SQL[f"rows_{table}"], [stream_id]):
                    key = tuple(row[column] for column in layout.key)
                    differences.append(Difference(view=table, key=key, served=dict(row), rebuilt=dict(row)))
        await _write(db, heads, differences)
        sealer = (await _writing_keys(db, heads, [stream_id]))[stream_id]
        after = 0
        while rows := await db.fetch(_ENCRYPTION["plain_events"], stream_id, after, PREFETCH):
            versions = [row["version"] for row in rows]
            contents = [sealer.seal(row["content"], ("events", stream_id, row["version"], "content")) for row in rows]
            await db.execute(_ENCRYPTION["seal_events"], stream_id, sealer.id.hex(), versions, contents)
            after = versions[-1]


@asynccontextmanager
async def as_of(db: Connection, stream_id: str, version: int) -> AsyncIterator[None]:
    """Shows the rows of the stream as of `version` to every query on this connection while the context is open."""
    transaction = db.transaction()
    await transaction.start()
    try:
        heads = _heads(await _hold(db, [stream_id]))
        folds = await _fold(db, heads, {id: min(version, head.version) for id, head in heads.items()})
        await _write(db, heads, await _compare_rows(db, heads, folds, PRIMARY_KEYS))
        yield
    finally:
        await transaction.rollback()


async def list_streams(db: Connection, after: str = "") -> AsyncIterator[tuple[str, int]]:
    """Yields the ids and versions of the streams with ids above `after`, in order, page by page."""
    last = after
    while page := await db.fetch(_SQL["streams"], last, STREAMS_PAGE):
        for row in page:
            yield row["stream_id"], row["version"]
        last = page[-1]["stream_id"]


async def _compare(db: Connection, stream_ids: Sequence[str], views: Collection[str]) -> _Comparison:
    async with db.transaction(isolation="repeatable_read", readonly=True):
        return await _fold_and_compare(db, _heads(await db.fetch(_SQL["heads"], list(stream_ids))), views)


async def _fold_and_compare(db: Connection, heads: Mapping[str, _Head], views: Collection[str]) -> _Comparison:
    folds = await _fold(db, heads, {id: head.version for id, head in heads.items()})
    differences = _compare_states(heads, folds) if HEADS in views else []
    return _Comparison(heads, differences + await _compare_rows(db, heads, folds, views))


async def _compare_rows(
    db: Connection, heads: Mapping[str, _Head], folds: Mapping[str, RowFold], views: Collection[str]
) -> list[Difference]:
    differences: list[Difference] = []
    for table, ids in _owners(heads, views).items():
        served = await db.fetch(_SQL[f"rows_{table}"], ids)
        rebuilt = {key: row for id in ids for key, row in folds[id].rows.tables[table].items()}
        if served or rebuilt:
            differences += compare_rows(table, served, rebuilt)
    return differences


async def _write_unmoved(db: Connection, comparison: _Comparison, stream_ids: list[str]) -> set[str]:
    """Writes the rows of those streams whose heads are where they were. Returns their ids."""
    heads = [comparison.heads[id] for id in stream_ids]
    versions, fences = [head.version for head in heads], [head.fence for head in heads]
    async with db.transaction():
        epoch = await _view_epoch(db)
        rows = await _hold_heads(db.fetch(_SQL["hold_unmoved"], stream_ids, versions, fences, epoch))
        held = {row["stream_id"] for row in rows}
        await _write(db, comparison.heads, comparison.of(held))
    return held


async def _hold(db: Connection, stream_ids: list[str]) -> list[asyncpg.Record]:
    return await _hold_heads(db.fetch(_SQL["hold"], stream_ids, await _view_epoch(db)))


async def _view_epoch(db: Connection) -> int:
    keys = key_store(db)
    return event_log.view_epoch(is_encrypted=keys is not None and await keys.is_on(db))


async def _hold_heads(held: Awaitable[list[asyncpg.Record]]) -> list[asyncpg.Record]:
    """Returns the rows of a statement that holds heads. Raises OutdatedSoftware."""
    try:
        return await held
    except asyncpg.CheckViolationError as error:
        raise outdated_or(error) from None


async def _write(db: Connection, heads: Mapping[str, _Head], differences: Iterable[Difference]) -> None:
    """Replaces the rows that differ. The caller must hold the heads of their streams."""
    by_view: dict[str, list[Difference]] = {}
    for difference in differences:
        by_view.setdefault(difference.view, []).append(difference)
    keys = await _writing_keys(db, heads, {each.stream_id for found in by_view.values() for each in found})
    for difference in by_view.pop(HEADS, ()):
        assert difference.rebuilt is not None
        id, state = difference.stream_id, difference.rebuilt["state"]
        if id in keys:
            state = keys[id].seal(state, ("streams", id, heads[id].version, "state"))
        await db.execute(_SQL["replace_state"], id, state)
    for table, found in by_view.items():
        wrong = [difference.key for difference in found if difference.served is not None]
        if wrong:
            places = range(len(wrong[0]))
            await db.execute(_SQL[f"delete_{table}"], *([key[place] for key in wrong] for place in places))
        right = [difference.rebuilt for difference in found if difference.rebuilt is not None]
        if right:
            rows = right
            if (layout := SEALED_TABLES.get(table)) is not None:
                ids = [str(row[layout.key[0]]) for row in right]
                rows = [
                    seal_row(table, layout, row, keys[id]) if id in keys else row
                    for id, row in zip(ids, right, strict=True)
                ]
            records = [tuple(row.values()) for row in rows]
            await db.copy_records_to_table(table, records=records, columns=list(right[0]))


async def _writing_keys(
    db: Connection, heads: Mapping[str, _Head], stream_ids: Collection[str]
) -> dict[str, StreamKey]:
    """Returns the keys under which rows of the streams are encrypted; none if nothing is. Stores the new ones."""
    store, keys = key_store(db), dict[str, StreamKey]()
    if store is None or not await store.is_on(db):
        return keys
    sealed = [id for id in stream_ids if heads[id].stream_type.name in SEALED_KINDS]
    keys.update(await store.find(db, sealed))
    for id in sealed:
        if id not in keys and (writing := await store.for_writing(db, id, is_new=True)) is not None:
            assert writing.operation is not None
            await execute_in_order(db, [writing.operation])
            keys[id] = writing.key
    return keys


def _heads(rows: Iterable[asyncpg.Record]) -> dict[str, _Head]:
    return {
        row["stream_id"]: _Head(
            stream_type=stream_type_named(row["kind"]),
            version=row["version"],
            fence=row["fence"],
            state_schema=row["state_schema"],
            state=row["state"],
            erased_version=row["erased_version"],
        )
        for row in rows
    }


def _owners(heads: Mapping[str, _Head], views: Collection[str]) -> dict[str, list[str]]:
    """Returns, for each of the views' tables, the streams that have rows in it.

    Raises ValueError if this software does not know one of the views.
    """
    if unknown := set(views) - ALL_VIEWS - PRIMARY_KEYS.keys():
        raise ValueError(f"unknown views: {sorted(unknown)}")
    owners: dict[str, list[str]] = {}
    for id, head in heads.items():
        for table in tables_of(head.stream_type):
            if table in views:
                owners.setdefault(table, []).append(id)
    return owners


async def _fold(db: Connection, heads: Mapping[str, _Head], until: Mapping[str, int]) -> dict[str, RowFold]:
    """Returns the folds of the streams up to the versions `until`. The caller must have opened a transaction."""
    folds = {id: RowFold(head.stream_type, id, until[id], after=head.erased_version) for id, head in heads.items()}
    starts = [head.erased_version for head in heads.values()]
    if any(starts):
        cursor = await db.cursor(_SQL["events_left"], list(folds), starts)
    else:
        cursor = await db.cursor(_SQL["events"], list(folds))
    while rows := await cursor.fetch(PREFETCH):
        for row in rows:
            folds[row["stream_id"]].add(_load_event(row))
    for fold in folds.values():
        fold.finish()
    return folds


def _load_event(row: Mapping[str, Any]) -> RecordedEvent[Any]:
    """Returns the event of a row. Raises CannotFold if its content cannot be read, or does not open."""
    try:
        return event_log.load_event(row)
    except ValueError as error:
        raise CannotFold(row["stream_id"], f"version {row['version']} cannot be read: {error}") from error


def _compare_states(heads: Mapping[str, _Head], folds: Mapping[str, RowFold]) -> list[Difference]:
    return [
        Difference(
            view=HEADS,
            key=(id,),
            served={"state": head.state},
            rebuilt={"state": head.stream_type.adapter.dump_json(folds[id].state)},
        )
        for id, head in heads.items()
        if head.has_state and not _is_state(head, folds[id].state)
    ]


def _is_state(head: _Head, state: Any) -> bool:
    """Whether the head holds the state, in whatever JSON."""
    if head.state == head.stream_type.adapter.dump_json(state):
        return True
    try:
        return bool(head.stream_type.adapter.validate_json(head.state) == state)
    except ValueError:
        return False
