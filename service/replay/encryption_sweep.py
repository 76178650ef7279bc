"""Encrypts a database that was plain before: its streams and the rows of no stream (`everthread encryption enable`)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from projections.rebuild import seal_stream
from sql import queries, sealed_results
from sql.connection import Connection
from sql.sealed_columns import SEALED_KINDS
from sql.seals import MAGIC
from sql.shared_keys import seal_shared

# Streams, or rows, that one query finds.
PAGE = 100
# Seconds that a query for plain streams may take.
STATEMENT_S = 600.0
# The tables whose rows belong to no stream.
_SHARED_TABLES = ("signing_keys", "webhook_work", "idempotency_keys")

_SQL = queries("encryption")


async def encrypt_streams(db: Connection) -> AsyncIterator[int]:
    """Encrypts all streams that have plain events. Yields the number of streams of each step.

    A stream is encrypted as a whole or not at all, so a sweep that was broken off goes on where it ended.
    """
    last = ""
    while True:
        rows = await db.fetch(_SQL["plain_streams"], sorted(SEALED_KINDS), last, PAGE, timeout=STATEMENT_S)
        for row in rows:
            await seal_stream(db, row["stream_id"])
            yield 1
            last = row["stream_id"]
        if len(rows) < PAGE:
            return


async def count_plain_rows(db: Connection) -> int:
    """Returns the number of rows that belong to no stream and are plain: secrets and stored answers."""
    found: int = await db.fetchval(_SQL["plain_rows"], MAGIC, timeout=STATEMENT_S)
    return found


async def encrypt_rows(db: Connection) -> AsyncIterator[int]:
    """Encrypts the plain rows that belong to no stream. Yields the number of rows of each transaction."""
    for table in _SHARED_TABLES:
        count = PAGE
        while count == PAGE:
            count = await _encrypt_page(db, table)
            yield count


async def _encrypt_page(db: Connection, table: str) -> int:
    query = _SQL[f"plain_{table}"]
    columns = sealed_results(query)[0].columns
    async with db.transaction():
        rows = await db.fetch(query, MAGIC, PAGE, timeout=STATEMENT_S)
        for row in rows:
            sealed = [await _seal(db, table, row[0], column, row[column]) for column in columns]
            await db.execute(_SQL[f"seal_{table}"], row[0], *(value for value in sealed))
    return len(rows)


async def _seal(db: Connection, table: str, key: object, column: str, value: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, list):
        return [await seal_shared(db, table, key, column, element) for element in value]
    return await seal_shared(db, table, key, column, value)
