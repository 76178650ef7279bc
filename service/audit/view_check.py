"""Compares the rows of the views with those that the events lead to.

The operations on rows, which appends carry out, are carried out on empty temporary tables with the names of the views'
tables. So verification locks nothing, and the transactions are read-only: no operation can reach the real tables.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping, Sequence

from service.audit.faults import Fault
from sql import queries
from sql.connection import Connection
from sql.row_operations import RowOperation, alone

_SQL = queries("verify")
_Rows = dict[tuple[str, str, str], bytes]


class ViewCheck:
    """The temporary tables of a connection. `is_possible` is False on a replica, which cannot have such tables."""

    def __init__(self, db: Connection, *, is_possible: bool, schema: str, search_path: str) -> None:
        self._db = db
        self.is_possible = is_possible
        self._real = f"{schema}, pg_temp"
        self._search_path = search_path
        self._waiting: defaultdict[str, deque[RowOperation]] = defaultdict(deque)
        self.waiting = 0

    @classmethod
    async def open(cls, db: Connection) -> ViewCheck:
        """Creates the temporary tables."""
        schema, search_path = await db.fetchrow(_SQL["search_path"])  # type: ignore[misc]
        is_possible = not await db.fetchval(_SQL["is_replica"])
        if is_possible:
            await db.execute(_SQL["shadow"])
        return cls(db, is_possible=is_possible, schema=schema, search_path=search_path)

    def add(self, stream_id: str, operations: Sequence[RowOperation]) -> None:
        """Adds operations to carry out, in the order of their stream."""
        if operations:
            self._waiting[stream_id].extend(operations)
            self.waiting += len(operations)

    async def flush(self) -> None:
        """Carries out the operations that wait: those of a stream in order, those of different streams together."""
        waiting, self._waiting, self.waiting = self._waiting, defaultdict(deque), 0
        while waiting:
            ready: defaultdict[str, list[str]] = defaultdict(list)
            for stream_id, operations in waiting.items():
                ready[operations[0].block].append(stream_id)
            block, streams = max(ready.items(), key=lambda item: len(item[1]))
            values = []
            for stream_id in streams:
                operations = waiting[stream_id]
                while operations and operations[0].block == block:
                    values.append(operations.popleft().values)
                if not operations:
                    del waiting[stream_id]
            await self._db.executemany(alone(block), values)

    async def compare(self, streams: Mapping[str, Sequence[str]]) -> list[Fault]:
        """Returns the differences of the views of these streams, given by kind. Carry out all operations before."""
        faults: list[Fault] = []
        for kind, stream_ids in streams.items():
            if f"rows_{kind}" in _SQL:
                rebuilt = await self._rows(kind, stream_ids)
                await self._db.execute(_SQL["set_search_path"], self._real)
                served = await self._rows(kind, stream_ids)
                await self._db.execute(_SQL["set_search_path"], self._search_path)
                faults += compare_rows(served, rebuilt)
        return faults

    async def _rows(self, kind: str, stream_ids: Sequence[str]) -> _Rows:
        rows = await self._db.fetch(_SQL[f"rows_{kind}"], list(stream_ids))
        return {(row["stream_id"], row["view"], row["id"]): row["hash"] for row in rows}


def compare_rows(served: _Rows, rebuilt: _Rows) -> list[Fault]:
    """Returns a fault for each row that is missing, that is no event's, or that differs."""
    faults = []
    for key in sorted(served.keys() | rebuilt.keys()):
        stream_id, view, id = key
        if key not in served:
            faults.append(Fault(stream_id, None, f"the row {id} of {view} was removed"))
        elif key not in rebuilt:
            faults.append(Fault(stream_id, None, f"the row {id} of {view} was inserted: no event leads to it"))
        elif served[key] != rebuilt[key]:
            faults.append(Fault(stream_id, None, f"the row {id} of {view} was changed"))
    return faults
