"""The registry of twins: functions that answer the queries of `sql/queries/` from the store in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from sql import queries
from tests.simulation.store import Row

# Returns the rows of the answer. A statement without an answer returns none.
QueryTwin = Callable[..., Iterable[Row]]
Predicate = Callable[[Row], bool]

QUERIES: dict[str, QueryTwin] = {}
# The names of the queries that have twins, by file.
NAMES: dict[str, list[str]] = {}


class TwinMissing(Exception):
    """A part of the service sent a statement that has no twin."""

    def __init__(self, text: str) -> None:
        super().__init__(f"no twin answers this statement (tests/simulation/twins):\n{text}")


def twin(file: str, name: str) -> Callable[[QueryTwin], QueryTwin]:
    """Declares a function as the twin of a query. It gets the session and the values of the parameters."""

    def declare(function: QueryTwin) -> QueryTwin:
        QUERIES[queries(file)[name]] = function
        NAMES.setdefault(file, []).append(name)
        return function

    return declare


def columns(row: Row, *names: str) -> Row:
    """Returns some columns of a row."""
    return {name: row[name] for name in names}


def within_bytes(rows: Sequence[Row], limit: int, sizes: Sequence[int]) -> Iterator[tuple[Row, bool]]:
    """Yields each row with whether it begins within the first `limit` bytes."""
    before = 0
    for row, size in zip(rows, sizes, strict=True):
        yield row, before < limit
        before += size


def body_size(row: Row) -> int:
    """Returns the bytes of an object's body and patches."""
    return len(row["body"]) + sum(len(patch) for patch in row["patches"] if patch is not None)
