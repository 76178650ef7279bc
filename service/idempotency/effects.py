"""The record of which appends were made under which idempotency key."""

from __future__ import annotations

from sql import queries
from sql.connection import Connection

_SQL = queries("idempotency")


async def find_effect(db: Connection, seed: bytes, stream_id: str, place: int) -> tuple[int, int] | None:
    """Returns the first and last version of the append at this place under the seed; None if it was not made."""
    row = await db.fetchrow(_SQL["effect"], stream_id, seed, place)
    return None if row is None else (row["first_version"], row["last_version"])
