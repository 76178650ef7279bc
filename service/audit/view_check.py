"""Compares the rows of the views with those that the events lead to.

The rows that the events lead to are folded in memory (`projections/row_store/`), so verification locks and writes
nothing, and works on a replica.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from projections import generations
from projections.row_store.tables import PRIMARY_KEYS
from projections.views import TABLES
from service.audit.faults import Fault
from service.audit.stream_check import StreamCheck
from sql import queries
from sql.connection import Connection

_SQL = queries("verify")
_ROWS = queries("rebuild")
_Rows = dict[tuple[Any, ...], dict[str, Any]]


async def compare_views(db: Connection, checks: Iterable[StreamCheck]) -> list[Fault]:
    """Returns a fault for each row of the streams' views that is missing, that is no event's, or that differs.

    The events of the streams were folded, without a fault.
    """
    if generations.GENERATIONS:
        await generations.load_states(db)
    folds: defaultdict[str, list[StreamCheck]] = defaultdict(list)
    for check in checks:
        type = check.stream_type
        for table in () if type is None else (*TABLES[type], *generations.live_tables(type)):
            folds[table].append(check)
    faults: list[Fault] = []
    for table, owners in folds.items():
        rebuilt = {key: row for check in owners for key, row in check.rows.tables[table].items()}
        served = await db.fetch(_ROWS[f"rows_{table}"], [check.stream_id for check in owners])
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
