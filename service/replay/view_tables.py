"""The tables of a stream's views in memory. Pure.

A fold carries out the same operations on rows as an append (`projections.views.row_operations`). Each block of sql/rows
that concerns an object of the API has a function here or in the modules beside this one, with the block's parameters;
the rows have the columns of the tables. tests/replay/test_view_tables.py compares both after random histories.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sql.row_operations import RowMissing, RowOperation

Row = dict[str, Any]
# The effect of a block on the tables; its parameters are those of the block.
BlockEffect = Callable[..., None]


class ViewTables:
    """The rows of one stream by table, each by its id within the stream."""

    def __init__(self) -> None:
        self._tables: defaultdict[str, dict[Any, Row]] = defaultdict(dict)

    def table(self, name: str) -> dict[Any, Row]:
        """Returns the rows of a table by id, in the order of their insertion."""
        return self._tables[name]

    def names(self) -> list[str]:
        """Returns the names of the tables that have rows."""
        return sorted(name for name, rows in self._tables.items() if rows)

    def row(self, table: str, id: Any) -> Row:
        """Returns a row that a block changes. Raises RowMissing if there is none."""
        found = self._tables[table].get(id)
        if found is None:
            raise RowMissing(f"{table} has no row {id}")
        return found


def carry_out(tables: ViewTables, operation: RowOperation, effects: Mapping[str, BlockEffect]) -> None:
    """Carries out an operation on the tables. Raises RowMissing, and KeyError if the block has no effect here."""
    effects[operation.block](tables, *(value for value in operation.values))


def delete_all(table: str) -> BlockEffect:
    """Returns the effect of a block that deletes the stream's rows of a table."""

    def effect(tables: ViewTables, stream_id: str) -> None:
        tables.table(table).clear()

    return effect


def replace_patches(patches: Sequence[bytes | None], new: Sequence[bytes | None]) -> list[bytes | None]:
    """Returns the patches with those of `new` at their places; a place that is null in `new` keeps its patch."""
    places = max(len(patches), len(new))
    old_patches = [*patches, *[None] * (places - len(patches))]
    new_patches = [*new, *[None] * (places - len(new))]
    return [old if changed is None else changed for old, changed in zip(old_patches, new_patches, strict=True)]
