"""Compares the rows of the views with those that the events lead to.

The rows that the events lead to are folded in memory (`projections/row_store/`), so verification locks and writes
nothing, and works on a replica.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from projections import generations
from projections.row_store import StreamRows
from projections.row_store.tables import PRIMARY_KEYS
from projections.views import TABLES
from service.audit.faults import Fault
from service.audit.stream_check import StreamCheck
from sql import queries
from sql.connection import Connection
from sql.row_operations import RowMissing

_SQL = queries("verify")
_ROWS = queries("rebuild")
_Rows = dict[tuple[Any, ...], dict[str, Any]]


async def fold_deletions(db: Connection, checks: Sequence[StreamCheck]) -> list[Fault]:
    """Gives each check the rows that the deletion at the end of its stream leaves; its other events are erased.

    A deletion changes rows that are as it left them in no way. So it is applied to the rows of the views: one that was
    put back or changed since becomes another. Returns a fault for each stream that lacks a row.
    """
    rows = {check.stream_id: StreamRows() for check in checks}
    for table, ids in _streams_by_table(checks).items():
        for record in await db.fetch(_ROWS[f"rows_{table}"], ids):
            row = dict(record)
            rows[row[PRIMARY_KEYS[table][0]]].tables.insert(table, row)
    faults = list[Fault]()
    for check in checks:
        check.rows = rows[check.stream_id]
        try:
            check.rows.apply(check.deletion_operations())
        except RowMissing as error:
            faults.append(Fault(check.stream_id, None, f"a row of the deleted object was removed: {error}"))
    return faults


def _streams_by_table(checks: Iterable[StreamCheck]) -> dict[str, list[str]]:
    found: defaultdict[str, list[str]] = defaultdict(list)
    for check in checks:
        type = check.stream_type
        for table in () if type is None else (*TABLES[type], *generations.live_tables(type)):
            found[table].append(check.stream_id)
    return found


async def compare_views(db: Connection, checks: Iterable[StreamCheck]) -> list[Fault]:
    """Returns a fault for each row of the streams' views that is missing, that is no event's, or that differs.

    The events of the streams were folded, without a fault.
    """
    if generations.GENERATIONS:
        await generations.load_states(db)
    by_id = {check.stream_id: check for check in checks}
    faults: list[Fault] = []
    for table, ids in _streams_by_table(by_id.values()).items():
        rebuilt = {key: row for id in ids for key, row in by_id[id].rows.tables[table].items()}
        served = await db.fetch(_ROWS[f"rows_{table}"], ids)
        await _normalize(db, rebuilt)
        faults += _compare_rows(table, served, rebuilt)
    return faults


async def _normalize(db: Connection, rebuilt: _Rows) -> None:
    """Gives the columns `attributes`, of the type jsonb, the text that Postgres would return."""
    rows = [row for row in rebuilt.values() if row.get("attributes") is not None]
    if rows:
        texts = await db.fetchval(_SQL["normalize"], [row["attributes"] for row in rows])
        for row, text in zip(rows, texts, strict=True):
            row["attributes"] = text


def _compare_rows(table: str, served: Sequence[Any], rebuilt: _Rows) -> list[Fault]:
    faults, columns = list[Fault](), PRIMARY_KEYS[table]
    for record in served:
        key = tuple([record[column] for column in columns])
        row = rebuilt.pop(key, None)
        if row is None:
            faults.append(Fault(key[0], None, f"the row {_id(key)} of {table} was inserted: no event leads to it"))
        elif dict(record) != row:
            faults.append(Fault(key[0], None, f"the row {_id(key)} of {table} was changed"))
    removed = (Fault(key[0], None, f"the row {_id(key)} of {table} was removed") for key in rebuilt)
    return sorted([*faults, *removed], key=str)


def _id(key: tuple[Any, ...]) -> str:
    last = key[-1]
    return last.hex() if isinstance(last, bytes) else str(last)
