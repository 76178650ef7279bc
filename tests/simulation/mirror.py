"""A connection that sends each statement to Postgres and to its twin, and compares the answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import orjson

from sql import queries
from sql.connection import Connection
from tests.simulation import appends
from tests.simulation.connection import SimulatedConnection
from tests.simulation.store import Row

# Columns that hold times of the database's clock, or the connection's own facts.
_OWN = {"last_query", "set_config", "pg_notify", "ready"}
# Queries that leave the order of some rows open, and those with a time of the database's clock.
_UNORDERED = {
    queries(file)[name]
    for file, name in (
        ("active_runs", "find_overdue"),
        ("active_runs", "find_held"),
        ("active_runs", "find_unowned"),
        ("event_log", "versions"),
        ("files", "find"),
        ("idempotency", "expire_keys"),
        ("idempotency", "expire_effects"),
        ("peers", "holders"),
        ("peers", "live"),
        ("sequencer", "versions"),
        ("vector_store_files", "facts"),
        ("vector_store_files", "find_held"),
        ("vector_store_files", "find_overdue"),
        ("webhooks", "find_overloaded"),
    )
}
_TIMED = {
    *(queries("webhooks")[name] for name in ("load_claimed", "record_failure")),
    queries("peers")["server_age"],
}


class MirrorConnection:
    """Both connections as one. `answers` counts the answers with rows, by statement."""

    def __init__(self, postgres: Connection, simulated: SimulatedConnection, answers: Counter[str]) -> None:
        self._postgres = postgres
        self._simulated = simulated
        self._answers = answers

    async def fetch(self, query: str, *values: Any, timeout: float | None = None) -> list[Any]:
        rows, error = await self._ask(query, values)
        if error is not None:
            raise error
        return rows

    async def fetchrow(self, query: str, *values: Any, timeout: float | None = None) -> Any:
        rows = await self.fetch(query, *values)
        return rows[0] if rows else None

    async def fetchval(self, query: str, *values: Any, timeout: float | None = None) -> Any:
        row = await self.fetchrow(query, *values)
        return None if row is None else row[0]

    async def execute(self, query: str, *values: Any, timeout: float | None = None) -> str:
        tag = await self._postgres.execute(query, *values)
        own = await self._simulated.execute(query, *values)
        self._answers[query] += 1
        # A twin does not count the rows of an operation that may find any number.
        if query in appends.statements() and tag.startswith("UPDATE"):
            assert own != "UPDATE 0" or tag == own, query
        return tag

    @asynccontextmanager
    async def transaction(self, **options: Any) -> AsyncIterator[None]:
        async with self._postgres.transaction(), self._simulated.transaction():
            yield

    def is_closed(self) -> bool:
        return self._postgres.is_closed()

    def is_in_transaction(self) -> bool:
        assert self._postgres.is_in_transaction() == self._simulated.is_in_transaction()
        return self._postgres.is_in_transaction()

    async def reset(self, *, timeout: float | None = None) -> None:
        await self._postgres.reset()
        await self._simulated.reset()

    async def close(self, *, timeout: float | None = None) -> None:
        await self._postgres.close()

    def terminate(self) -> None:
        self._postgres.terminate()

    async def _ask(self, query: str, values: Sequence[Any]) -> tuple[list[Any], Exception | None]:
        """Returns Postgres' answer, after it was compared with the twin's."""
        rows, error = list[Any](), None
        try:
            rows = await self._postgres.fetch(query, *values)
        except asyncpg.UniqueViolationError as raised:
            error = raised
        try:
            own = await self._simulated.fetch(query, *values)
        except asyncpg.UniqueViolationError:
            assert error is not None, f"the twin alone refuses {query} {values}"
            return [], error
        assert error is None, f"Postgres alone refuses {query} {values}"
        if rows:
            self._answers[query] += 1
        assert _comparable(query, own) == _comparable(query, [dict(row) for row in rows]), f"{query}\n{values}"
        return rows, None


def _comparable(query: str, rows: Sequence[Row]) -> list[Any]:
    """Returns the values of the rows in a form that can be compared."""
    if query in _TIMED:
        return [len(row) for row in rows]
    if query in appends.statements():
        return [row["version"] for row in rows]
    if len(rows) == 1 and len(rows[0]) == 1 and not _OWN & rows[0].keys():
        return [next(iter(rows[0].values()))]  # Postgres names the column of an expression after the function
    found = [
        {
            name: orjson.loads(value) if name == "attributes" else value
            for name, value in row.items()
            if name not in _OWN
        }
        for row in rows
    ]
    return sorted(found, key=repr) if query in _UNORDERED else found
