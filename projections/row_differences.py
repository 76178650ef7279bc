"""The differences between the rows of a table that are served, and those that the events lead to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from projections.row_store.tables import PRIMARY_KEYS, Key, Row

# The columns of the type jsonb, of which Postgres does not keep the text.
_JSON = "attributes"


@dataclass(frozen=True, slots=True)
class Difference:
    """A row that differs from the log: as served and as rebuilt, or None if the row is missing on that side.

    `key` are the values of the primary key; the first one is the stream's id.
    """

    view: str
    key: Key
    served: Row | None
    rebuilt: Row | None

    @property
    def stream_id(self) -> str:
        return str(self.key[0])

    @property
    def id(self) -> str:
        """The last value of the primary key, as text."""
        last = self.key[-1]
        return last.hex() if isinstance(last, bytes) else str(last)

    @property
    def columns(self) -> list[str]:
        """The columns that differ, or all if a side is missing."""
        served, rebuilt = _comparable(self.served or {}), _comparable(self.rebuilt or {})
        return [name for name in served or rebuilt if served.get(name) != rebuilt.get(name)]


def compare_rows(table: str, served: Sequence[Any], rebuilt: Mapping[Key, Row]) -> list[Difference]:
    """Returns the rows of a table that differ, in the order of their keys.

    `served` are records of all columns of the table, `rebuilt` the rows by primary key.
    """
    key_columns, differences, missing = PRIMARY_KEYS[table], list[Difference](), dict(rebuilt)
    columns = list(served[0].keys()) if served else []
    # Postgres does not keep the text of jsonb.
    can_compare_bytes = _JSON not in columns
    for record in served:
        key = tuple([record[column] for column in key_columns])
        row = missing.pop(key, None)
        if row is not None and can_compare_bytes and [row[column] for column in columns] == list(record):
            continue
        served_row = dict(record)
        if row is None or _comparable(served_row) != _comparable(row):
            differences.append(Difference(view=table, key=key, served=served_row, rebuilt=row))
    differences += (Difference(view=table, key=key, served=None, rebuilt=row) for key, row in missing.items())
    return sorted(differences, key=lambda difference: difference.key)


def _comparable(row: Row) -> Row:
    """Returns the row with values that are equal if Postgres holds equal ones."""
    return row | {_JSON: orjson.loads(row[_JSON])} if _JSON in row else row
