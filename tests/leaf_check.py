"""Compares the leaves of a whole database with those of the second implementation."""

from __future__ import annotations

import sql
from sql.connection import Connection
from tests.leaf_reference import commitment_of, leaf_of

ALL_EVENTS = sql.declare_sealed(
    "SELECT * FROM events ORDER BY stream_id, version", "-- sealed: events(stream_id, version): content"
)


async def check_leaves(db: Connection) -> int:
    """Returns the number of events. Asserts that every commitment, leaf and head is right, and that no salt repeats."""
    leaves: dict[str, bytes] = {}
    salts = set()
    rows = await db.fetch(ALL_EVENTS)
    for row in rows:
        assert row["commitment"] == commitment_of(row["content"])
        leaves[row["stream_id"]] = leaf_of(row, leaves.get(row["stream_id"], b""))
        assert row["leaf"] == leaves[row["stream_id"]], f"{row['stream_id']} version {row['version']}"
        salts.add(row["content"][:32])
    assert len(salts) == len(rows)
    heads = await db.fetch("SELECT stream_id, leaf FROM streams")
    assert {head["stream_id"]: head["leaf"] for head in heads} == leaves
    return len(rows)
