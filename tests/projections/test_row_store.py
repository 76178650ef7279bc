"""The rows in memory are those of Postgres. Random histories in other tests compare them by `rebuild.verify`."""

from __future__ import annotations

from typing import Any

import pytest

from projections.row_store import TWINS, StreamRows
from projections.row_store.tables import PRIMARY_KEYS, KeyExists
from projections.views import TABLES
from sql import blocks
from sql.connection import Connection
from sql.row_operations import RowMissing, RowOperation, parameter_count

MESSAGE = ("thread_1", "proj_1", ["msg_1"], [1], [None], [None], [b"{}"])


def test_each_operation_on_a_view_has_a_twin() -> None:
    names = {f"{table}.{name}" for table in PRIMARY_KEYS for name in blocks(table) if not name.endswith("_many")}
    assert names == TWINS.keys()


@pytest.mark.parametrize("block", sorted(TWINS))
def test_a_twin_takes_the_parameters_of_its_operation(block: str) -> None:
    code = TWINS[block].__code__
    assert code.co_argcount == parameter_count(block) + 1


async def test_the_tables_have_the_primary_keys_of_postgres(db: Connection) -> None:
    for table, key in PRIMARY_KEYS.items():
        found = await db.fetch(
            "SELECT attname FROM pg_index JOIN pg_attribute ON attrelid = indrelid AND attnum = ANY (indkey)"
            " WHERE indrelid = $1::regclass AND indisprimary ORDER BY array_position(indkey, attnum)",
            table,
        )
        assert tuple(row["attname"] for row in found) == key
    assert {table for tables in TABLES.values() for table in tables} == PRIMARY_KEYS.keys()


@pytest.mark.parametrize(
    ("block", "values"),
    [
        ("threads.modify", ("thread_1", None, None)),
        ("messages.delete", ("thread_1", "msg_2")),
        ("runs.patch", ("thread_1", "run_1", [], [])),
        ("vector_store_files.finish", ("vs_1", "file_1", 0)),
    ],
)
def test_a_change_of_a_missing_row_is_an_error(block: str, values: tuple[Any, ...]) -> None:
    rows = StreamRows()
    rows.apply([RowOperation("messages.insert", MESSAGE)])
    with pytest.raises(RowMissing):
        rows.apply([RowOperation(block, values)])


def test_a_second_row_of_a_key_is_an_error() -> None:
    rows = StreamRows()
    rows.apply([RowOperation("messages.insert", MESSAGE)])
    with pytest.raises(KeyExists, match="msg_1"):
        rows.apply([RowOperation("messages.insert", MESSAGE)])
