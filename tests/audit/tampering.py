"""Changes of the database that only its administrator can make, with all knowledge of the formats."""

from __future__ import annotations

from typing import Any

from events import leaves
from events.leaves import Envelope
from sql.connection import Connection

COVERED = (
    *("stream_id", "version", "type", "at", "project_id", "actor", "request_id", "cause", "schema_version"),
    *("software_version", "algorithm", "client"),
)


async def forge_content(db: Connection, stream_id: str, version: int, json: bytes, *, with_log: bool = False) -> None:
    """Replaces the JSON of an event, and every hash that follows from it, as a skilled forger would.

    The forger changes the leaves of all later events of the stream and of its head, and with `with_log` those of the
    ranges too.
    """
    rows = await db.fetch("SELECT * FROM events WHERE stream_id = $1 ORDER BY version", stream_id)
    previous = leaves.NO_LEAF
    for row in rows:
        content = row["content"][:32] + json if row["version"] == version else row["content"]
        commitment = leaves.commit(content)
        previous = leaves.hash_leaf(Envelope(**{name: row[name] for name in COVERED}), commitment, previous)
        await db.execute(
            "UPDATE events SET content = $3, commitment = $4, leaf = $5 WHERE stream_id = $1 AND version = $2",
            stream_id,
            row["version"],
            content,
            commitment,
            previous,
        )
        if with_log:
            await db.execute(
                "UPDATE log_ranges"
                " SET leaves = overlay(leaves PLACING $3 FROM 32 * ($2 - first_version)::int + 1 FOR 32)"
                " WHERE stream_id = $1 AND $2 >= first_version AND $2 < first_version + count",
                stream_id,
                row["version"],
                previous,
            )
    await db.execute("UPDATE streams SET leaf = $2 WHERE stream_id = $1", stream_id, previous)


async def json_of(db: Connection, stream_id: str, version: int) -> bytes:
    found: Any = await db.fetchval(
        "SELECT substr(content, 33) FROM events WHERE stream_id = $1 AND version = $2", stream_id, version
    )
    return bytes(found)
