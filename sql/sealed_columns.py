"""The columns that hold text of clients, and so are encrypted, and the parameters of row operations that write them.

A sealed value is bound to its place: the table, the key of its row and the column (`sql.seals`). All other columns
stay plain: ids, order, status, times, sizes, counts, names of models, and actors (docs/encryption.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class SealedTable:
    """The sealed columns of a table. `key` are the columns that identify a row; the first one is its stream's id.

    Rows of no stream have the name of a key of the installation in its place, in quotes.
    """

    key: tuple[str, ...]
    columns: tuple[str, ...]


# The place of a value: the table, the key of the row, and the column.
Place = tuple[Any, ...]
_OBJECT = ("body", "patches")
# The kinds of streams that hold text of clients. Those of the installation, projects and keys are plain.
SEALED_KINDS = frozenset({"assistant", "file", "thread", "upload", "vector_store", "webhook_endpoint"})

# The sealed columns by table. A state is bound to its version too, so that an older one cannot take its place.
SEALED_TABLES: Mapping[str, SealedTable] = {
    "events": SealedTable(("stream_id", "version"), ("content",)),
    "streams": SealedTable(("stream_id", "version"), ("state",)),
    "assistants": SealedTable(("assistant_id",), _OBJECT),
    "files": SealedTable(("file_id",), ("body",)),
    "idempotency_keys": SealedTable(("'installation:answers'", "token"), ("content", "sealed_headers")),
    "live_deltas": SealedTable(("thread_id", "process", "call"), ("deltas",)),
    "messages": SealedTable(("thread_id", "message_id"), _OBJECT),
    "runs": SealedTable(("thread_id", "run_id"), _OBJECT),
    "signing_keys": SealedTable(("'installation:signing_keys'", "key_id"), ("secret",)),
    "steps": SealedTable(("thread_id", "step_id"), _OBJECT),
    "threads": SealedTable(("thread_id",), _OBJECT),
    "upload_parts": SealedTable(("upload_id", "part_id"), ("body",)),
    "uploads": SealedTable(("upload_id",), ("body",)),
    "vector_stores": SealedTable(("store_id",), _OBJECT),
    "vector_store_files": SealedTable(("store_id", "file_id"), ("body", "last_error")),
    "webhook_endpoints": SealedTable(("endpoint_id",), _OBJECT),
    "webhook_work": SealedTable(
        ("'installation:webhook_work'", "endpoint_id"), ("secret", "replaced_secrets", "last_error")
    ),
}


@dataclass(frozen=True, slots=True)
class SealedParameters:
    """The parameters of a block that are sealed: number to column. `key` are the numbers of those with the row's key.

    If a parameter of the key is an array, the sealed arrays have one element for each of its elements; else all
    elements belong to one row. `is_numbered` if the last part of the key is the version before the first element.
    `key_id` is the number of the parameter that gets the id of the key.
    """

    key: tuple[int, ...]
    columns: Mapping[int, str]
    is_numbered: bool = False
    key_id: int | None = None

    def keys_of(self, values: Sequence[Any], count: int) -> list[tuple[Any, ...]]:
        """Returns the keys of the rows of `count` elements."""
        parts = [values[number - 1] for number in self.key]
        if self.is_numbered:
            *others, before = parts
            return [(*others, before + place) for place in range(1, count + 1)]
        if any(isinstance(part, list) for part in parts):
            columns = [part if isinstance(part, list) else [part] * count for part in parts]
            return list(zip(*columns, strict=True))
        return [tuple(parts)] * count


# The sealed parameters by block of sql/rows/. Blocks that are not named here write no sealed column. The blocks
# `…_many` are merged from operations that are sealed already.
SEALED_PARAMETERS: Mapping[str, SealedParameters] = {
    "events.insert": SealedParameters((1, 2), {4: "content"}, is_numbered=True, key_id=16),
    "streams.open": SealedParameters((1, 4), {7: "state"}),
    "streams.move": SealedParameters((1, 5), {8: "state"}),
    "assistants.insert": SealedParameters((1,), {4: "body"}),
    "assistants.modify": SealedParameters((1,), {2: "patches"}),
    "files.insert": SealedParameters((1,), {8: "body"}),
    "messages.insert": SealedParameters((1, 3), {7: "body"}),
    "messages.modify": SealedParameters((1, 2), {3: "patches"}),
    "runs.insert": SealedParameters((1, 2), {6: "body", 7: "patches"}),
    "runs.import": SealedParameters((1, 3), {5: "body"}),
    "runs.patch": SealedParameters((1, 2), {3: "patches"}),
    "runs.modify": SealedParameters((1, 2), {3: "patches"}),
    "steps.insert": SealedParameters((1, 2), {7: "body", 8: "patches"}),
    "steps.import": SealedParameters((1, 3), {7: "body"}),
    "steps.patch": SealedParameters((1, 2), {3: "patches"}),
    "threads.insert": SealedParameters((1,), {4: "body"}),
    "threads.modify": SealedParameters((1,), {2: "patches", 3: "patches"}),
    "upload_parts.insert": SealedParameters((1, 2), {4: "body"}),
    "uploads.insert": SealedParameters((1,), {4: "body"}),
    "vector_stores.insert": SealedParameters((1,), {7: "body"}),
    "vector_stores.modify": SealedParameters((1,), {2: "patches"}),
    "vector_store_files.insert": SealedParameters((1, 5), {9: "body"}),
    "vector_store_files.fail": SealedParameters((1, 2), {3: "last_error"}),
    "webhook_endpoints.insert": SealedParameters((1,), {5: "body"}),
    "webhook_endpoints.modify": SealedParameters((1,), {4: "patches"}),
}


@dataclass(frozen=True, slots=True)
class SealedResult:
    """The sealed columns of a query's result: those of one table.

    `key` says where the key of the row is: the number of a parameter, the name of a column of the result, or the name
    of a key of the installation, in quotes.
    """

    table: str
    key: tuple[int | str, ...]
    columns: tuple[str, ...]

    @property
    def has_one_owner(self) -> bool:
        """Whether all rows of a result belong to one stream or key: that of a parameter, or one in quotes."""
        first = self.key[0]
        return isinstance(first, int) or first.startswith("'")

    def owner(self, row: Mapping[str, Any], values: Sequence[Any]) -> str:
        """Returns the stream of a row, or its key of the installation. `values` are those of the parameters."""
        return str(key_part(self.key[0], row, values))


def key_part(part: int | str, row: Mapping[str, Any], values: Sequence[Any]) -> Any:
    """Returns the value of a part of `SealedResult.key`."""
    if isinstance(part, int):
        return values[part - 1]
    return part[1:-1] if part.startswith("'") else row[part]
