"""Pages of lists over rows in memory, with the same bounds as those of the SQL over the tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from events.errors import NotFound
from projections.row_store.tables import Row, Table
from projections.rows import MAX_PAGE_BYTES, Cursor, Page, load_rows

T = TypeVar("T")


async def read_page(
    table: Table,
    stream_id: str,
    cursor: Cursor,
    load: Callable[[Mapping[str, Any]], T],
    *,
    is_listed: Callable[[Row], bool],
    not_found: Callable[[str], NotFound],
    has_byte_bound: bool = True,
) -> Page[T]:
    """Returns the page of the rows that are listed, in the order of their positions.

    Raises the error of `not_found` if the cursor names an id without a row. The row of a deleted object is one.
    """
    lower, upper = cursor.bounds(*(_position(table, stream_id, id, not_found) for id in (cursor.after, cursor.before)))
    rows = [
        row
        for row in table.values()
        if (lower is None or row["position"] > lower) and (upper is None or row["position"] < upper) and is_listed(row)
    ]
    rows.sort(key=lambda row: row["position"], reverse=cursor.scan == "desc")
    rows = rows[: cursor.limit + 1]
    return cursor.page(await load_rows(bound_bytes(rows) if has_byte_bound else rows, load))


def bound_bytes(rows: Iterable[Row]) -> list[Row]:
    """Returns the rows; those after the first MAX_PAGE_BYTES of JSON have no body."""
    found, size = [], 0
    for row in rows:
        found.append(row if size < MAX_PAGE_BYTES else {**row, "body": None})
        size += row_size(row)
    return found


def row_size(row: Row) -> int:
    """Returns the bytes of the JSON of a row."""
    return len(row["body"]) + sum(len(patch) for patch in row["patches"] if patch is not None)


def _position(table: Table, stream_id: str, id: str | None, not_found: Callable[[str], NotFound]) -> int | None:
    if id is None:
        return None
    row = table.get((stream_id, id))
    if row is None:
        raise not_found(id)
    position: int = row["position"]
    return position
