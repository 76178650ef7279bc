"""Rebuilds the views of streams from their events, or compares them.

A rebuild folds the events of streams into rows in memory (`projections/row_store/`), and replaces the rows of the views
in one transaction. It holds the heads of the streams meanwhile, so appends to them wait, and readers see the old rows
or the new ones. The rows of a deleted thread are deleted with it; deleted messages and assistants keep a row, as
cursors. The states of heads are rebuilt too, unless software of another schema wrote them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import orjson

from events import event_log
from events.envelope import RecordedEvent
from events.streams import StreamType, stream_type_named
from projections.row_store import StreamRows
from projections.row_store.tables import PRIMARY_KEYS, Row
from projections.views import TABLES, row_operations
from sql import queries
from sql.connection import Connection

STREAMS_PAGE = 500
# Events that are fetched at once, and events of a stream that are projected at once.
PREFETCH = 200
PROJECTED_PAGE = 1000
# The name under which the states of heads, which are no view's rows, are rebuilt and compared.
HEADS = "heads"
ALL_TABLES = frozenset(PRIMARY_KEYS)
ALL_VIEWS = ALL_TABLES | {HEADS}
_SQL = queries("rebuild")


@dataclass(frozen=True, slots=True)
class Difference:
    """A row that differs from the log: as served and as rebuilt, or None if the row is missing on that side."""

    stream_id: str
    view: str
    id: str
    served: Row | None
    rebuilt: Row | None

    @property
    def columns(self) -> list[str]:
        """The columns that differ, or all if a side is missing."""
        served, rebuilt = self.served or {}, self.rebuilt or {}
        return [name for name in served or rebuilt if served.get(name) != rebuilt.get(name)]


class CannotFold(RuntimeError):
    """The events of a stream do not lead to rows: one is missing, or they were changed."""

    def __init__(self, stream_id: str, reason: str) -> None:
        super().__init__(f"The views of the stream {stream_id} cannot be rebuilt from its events: {reason}")
        self.stream_id = stream_id


@dataclass(frozen=True, slots=True)
class _Head:
    stream_type: StreamType[Any, Any]
    version: int
    state_schema: int
    state: bytes

    @property
    def has_state(self) -> bool:
        """Whether the state is one that this software reads and writes."""
        return self.state_schema == self.stream_type.state_schema


class RowFold:
    """Folds the events of one stream into its rows, up to a version. Add the events in order, then call `finish`."""

    def __init__(self, stream_type: StreamType[Any, Any], stream_id: str, until: int) -> None:
        self.rows = StreamRows()
        self.version = 0
        self._type = stream_type
        self._stream_id = stream_id
        self._until = until
        self._state = stream_type.initial(stream_id)
        self._before = self._state
        self._page: list[RecordedEvent[Any]] = []

    @property
    def state(self) -> Any:
        """The state of the stream after the events so far."""
        return self._state

    def add(self, recorded: RecordedEvent[Any]) -> None:
        """Adds the next event, unless its version is above the last one to fold. Raises CannotFold."""
        if recorded.version > self._until:
            return
        if recorded.version != self.version + 1:
            raise self._hole()
        self.version = recorded.version
        self._page.append(recorded)
        try:
            self._state = self._type.evolve(self._state, recorded)
        except Exception as error:
            raise self._cannot_fold(error) from error
        if len(self._page) >= PROJECTED_PAGE:
            self._project()

    def finish(self) -> StreamRows:
        """Returns the rows. Raises CannotFold."""
        if self.version < self._until:
            raise self._hole()
        self._project()
        return self.rows

    def _project(self) -> None:
        try:
            self.rows.apply(row_operations(self._type, self._page, self._before))
        except Exception as error:
            raise self._cannot_fold(error) from error
        self._page, self._before = [], self._state

    def _cannot_fold(self, error: Exception) -> CannotFold:
        reason = str(error) or type(error).__name__
        return CannotFold(self._stream_id, f"at version {self.version}: {reason}")

    def _hole(self) -> CannotFold:
        return CannotFold(self._stream_id, f"it has no event {self.version + 1}, and its head says {self._until}")


async def rebuild(db: Connection, stream_ids: Sequence[str], views: Collection[str] = ALL_VIEWS) -> int:
    """Replaces the rows of the streams in these views, in one transaction. Returns the number of their events.

    Streams that do not exist are left out. Raises CannotFold.
    """
    async with db.transaction():
        heads = _heads(await db.fetch(_SQL["hold"], list(stream_ids)))
        folds = await _fold(db, heads, _versions(heads))
        await _replace_rows(db, heads, folds, views)
        if HEADS in views:
            await _replace_states(db, heads, folds)
    return sum(head.version for head in heads.values())


async def compare(
    db: Connection, stream_ids: Sequence[str], views: Collection[str] = ALL_VIEWS
) -> tuple[int, list[Difference]]:
    """Returns the number of events of the streams, and the rows that differ from them.

    Reads one snapshot, locks nothing and changes nothing. Raises CannotFold.
    """
    async with db.transaction(isolation="repeatable_read", readonly=True):
        heads = _heads(await db.fetch(_SQL["heads"], list(stream_ids)))
        folds = await _fold(db, heads, _versions(heads))
        differences = _compare_states(heads, folds) if HEADS in views else []
        for table, ids in _owners(heads, views).items():
            served = await db.fetch(_SQL[f"rows_{table}"], ids)
            rebuilt = (row for id in ids for row in folds[id].rows.tables.rows(table))
            differences += compare_rows(table, map(dict, served), rebuilt)
    return sum(head.version for head in heads.values()), differences


async def verify(db: Connection, stream_id: str) -> list[Difference]:
    """Returns the rows of the stream that differ from the log; see `compare`."""
    _, differences = await compare(db, [stream_id])
    return differences


@asynccontextmanager
async def as_of(db: Connection, stream_id: str, version: int) -> AsyncIterator[None]:
    """Shows the rows of the stream as of `version` to every query on this connection while the context is open."""
    transaction = db.transaction()
    await transaction.start()
    try:
        heads = _heads(await db.fetch(_SQL["hold"], [stream_id]))
        folds = await _fold(db, heads, {id: min(version, head.version) for id, head in heads.items()})
        await _replace_rows(db, heads, folds, ALL_TABLES)
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


def compare_rows(table: str, served: Iterable[Row], rebuilt: Iterable[Row]) -> list[Difference]:
    """Returns the differences between the rows of a table, by their primary keys."""
    served_by_key, rebuilt_by_key = _by_key(table, served), _by_key(table, rebuilt)
    return [
        Difference(
            stream_id=key[0],
            view=table,
            id=_id_text(key[-1]),
            served=served_by_key.get(key),
            rebuilt=rebuilt_by_key.get(key),
        )
        for key in sorted(served_by_key.keys() | rebuilt_by_key.keys())
        if served_by_key.get(key) != rebuilt_by_key.get(key)
    ]


def _by_key(table: str, rows: Iterable[Row]) -> dict[tuple[Any, ...], Row]:
    columns = PRIMARY_KEYS[table]
    return {tuple(row[column] for column in columns): _comparable(row) for row in rows}


def _comparable(row: Row) -> Row:
    """Returns the row with values that are equal if Postgres holds equal ones: jsonb does not keep its text."""
    return row | {"attributes": orjson.loads(row["attributes"])} if "attributes" in row else row


def _id_text(value: Any) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


def _heads(rows: Iterable[Mapping[str, Any]]) -> dict[str, _Head]:
    return {
        row["stream_id"]: _Head(stream_type_named(row["kind"]), row["version"], row["state_schema"], row["state"])
        for row in rows
    }


def _versions(heads: Mapping[str, _Head]) -> dict[str, int]:
    return {id: head.version for id, head in heads.items()}


def _owners(heads: Mapping[str, _Head], views: Collection[str]) -> dict[str, list[str]]:
    """Returns, for each of the views' tables, the streams that have rows in it."""
    owners: dict[str, list[str]] = {}
    for id, head in heads.items():
        for table in TABLES[head.stream_type]:
            if table in views:
                owners.setdefault(table, []).append(id)
    return owners


async def _fold(db: Connection, heads: Mapping[str, _Head], until: Mapping[str, int]) -> dict[str, RowFold]:
    """Returns the folds of the streams up to the versions `until`. The caller must have opened a transaction."""
    folds = {id: RowFold(head.stream_type, id, until[id]) for id, head in heads.items()}
    async for row in db.cursor(_SQL["events"], list(folds), prefetch=PREFETCH):
        folds[row["stream_id"]].add(event_log.load_event(row))
    for fold in folds.values():
        fold.finish()
    return folds


async def _replace_rows(
    db: Connection, heads: Mapping[str, _Head], folds: Mapping[str, RowFold], views: Collection[str]
) -> None:
    for table, ids in _owners(heads, views).items():
        await db.execute(_SQL[f"delete_{table}"], ids)
        rows = [row for id in ids for row in folds[id].rows.tables.rows(table)]
        if rows:
            await db.copy_records_to_table(table, records=[tuple(row.values()) for row in rows], columns=list(rows[0]))


async def _replace_states(db: Connection, heads: Mapping[str, _Head], folds: Mapping[str, RowFold]) -> None:
    for difference in _compare_states(heads, folds):
        assert difference.rebuilt is not None
        await db.execute(_SQL["replace_state"], difference.stream_id, difference.rebuilt["state"])


def _compare_states(heads: Mapping[str, _Head], folds: Mapping[str, RowFold]) -> list[Difference]:
    return [
        Difference(
            stream_id=id,
            view=HEADS,
            id=id,
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
