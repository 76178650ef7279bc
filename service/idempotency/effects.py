"""The record of which appends were made under which idempotency key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from events.envelope import RecordedEvent
from sql import queries
from sql.connection import Connection

_SQL = queries("idempotency")


async def find_effect(db: Connection, seed: bytes, stream_id: str, place: int) -> tuple[int, int] | None:
    """Returns the first and last version of the append at this place under the seed; None if it was not made."""
    row = await db.fetchrow(_SQL["effect"], stream_id, seed, place)
    return None if row is None else (row["first_version"], row["last_version"])


async def record_effect(db: Connection, seed: bytes, place: int, recorded: Sequence[RecordedEvent[Any]]) -> bool:
    """Records which versions an append made, in its transaction.

    Returns False if another try of the request has made the append first: the transaction must be rolled back.
    """
    first, last = recorded[0], recorded[-1]
    row = await db.fetchval(_SQL["record"], last.stream_id, seed, place, first.version, last.version, last.at)
    return row is not None
