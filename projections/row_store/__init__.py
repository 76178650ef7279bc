"""The rows of a stream in memory. Each operation on rows has a twin here, which changes them as Postgres would.

The values have the types that asyncpg returns, except that `attributes`, of the type jsonb, keep the text that they
were written with. `tests/projections/test_row_store.py` compares the rows with those of Postgres.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from projections.row_store import objects, threads, vector_stores
from projections.row_store.tables import Tables
from sql.row_operations import RowOperation

Twin = Callable[..., None]

TWINS: Mapping[str, Twin] = {**threads.BLOCKS, **objects.BLOCKS, **vector_stores.BLOCKS}


class StreamRows:
    """The rows of one stream in all views."""

    def __init__(self) -> None:
        self.tables = Tables()

    def apply(self, operations: Iterable[RowOperation]) -> None:
        """Carries out operations of one stream, in order.

        Raises RowMissing if a row that an operation changes is missing, KeyExists if an inserted row exists, and
        KeyError if an operation changes no view.
        """
        for operation in operations:
            twin = TWINS[operation.block]
            twin(self.tables, *operation.values)
