"""Encrypts the streams of a database that was plain before, one after another (`everthread encryption enable`)."""

from __future__ import annotations

from collections.abc import AsyncIterator

from projections.rebuild import seal_stream
from sql import queries
from sql.connection import Connection
from sql.sealed_columns import SEALED_KINDS

# Streams that one query finds.
PAGE = 100
# Seconds that a query for plain streams may take.
STATEMENT_S = 600.0

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
