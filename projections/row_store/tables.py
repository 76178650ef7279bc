"""The tables of the views in memory: rows by primary key, and the changes that operations make to them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import Any

from sql.row_operations import RowMissing

Row = dict[str, Any]
Key = tuple[Any, ...]
Table = dict[Key, Row]

# The primary key of each table, in the order of its columns.
PRIMARY_KEYS: dict[str, tuple[str, ...]] = {
    "active_runs": ("thread_id", "run_id"),
    "api_keys": ("key_id",),
    "assistants": ("assistant_id",),
    "files": ("file_id",),
    "messages": ("thread_id", "message_id"),
    "metadata_pairs": ("stream_id", "pair"),
    "projects": ("project_id",),
    "runs": ("thread_id", "run_id"),
    "steps": ("thread_id", "step_id"),
    "thread_attachments": ("thread_id", "position"),
    "threads": ("thread_id",),
    "upload_parts": ("upload_id", "part_id"),
    "uploads": ("upload_id",),
    "vector_store_batches": ("store_id", "batch_id"),
    "vector_store_files": ("store_id", "file_id"),
    "vector_stores": ("store_id",),
    "webhook_endpoints": ("endpoint_id",),
}


class KeyExists(Exception):
    """An operation inserts a row whose primary key a row has."""


class Tables:
    """The rows of one stream in all views, by the name of the table and the primary key."""

    def __init__(self) -> None:
        self._tables: dict[str, Table] = {name: {} for name in PRIMARY_KEYS}

    def __getitem__(self, name: str) -> Table:
        return self._tables[name]

    def rows(self, name: str) -> Iterable[Row]:
        """Returns the rows of a table, in the order of their insertion."""
        return self._tables[name].values()

    def insert(self, name: str, row: Row) -> None:
        """Adds a row. Raises KeyExists if there is one with its key."""
        key = tuple(row[column] for column in PRIMARY_KEYS[name])
        if key in self._tables[name]:
            raise KeyExists(f"{name} has a row {key}")
        self._tables[name][key] = row

    def upsert(self, name: str, row: Row, changes: Row) -> None:
        """Adds a row, or makes the changes to the row with its key."""
        key = tuple(row[column] for column in PRIMARY_KEYS[name])
        if key in self._tables[name]:
            self._tables[name][key] |= changes
        else:
            self._tables[name][key] = row

    def find(self, name: str, *key: Any) -> Row:
        """Returns the row of the key. Raises RowMissing."""
        try:
            return self._tables[name][key]
        except KeyError:
            raise RowMissing(f"{name} found no row {key}") from None

    def clear(self, name: str) -> None:
        """Removes all rows of a table."""
        self._tables[name].clear()

    def delete(self, name: str, *key: Any) -> None:
        """Removes the row of the key if there is one."""
        self._tables[name].pop(key, None)


def coalesce_patches(old: Sequence[bytes | None], new: Sequence[bytes | None]) -> list[bytes | None]:
    """Returns the patches by place: the new one if it is not null, else the old one."""
    return [before if after is None else after for before, after in zip_longest(old, new)]
