"""Shows what is left of a stream whose object was deleted: envelopes of events, the fate of its key, and its forks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from events import codec, leaves
from events.installation import INSTALLATION_ID, StreamsErased
from events.leaves import StoredEvent
from projections import erasures
from service.audit.batch_check import check_batch
from sql import queries
from sql.connection import Connection
from sql.seals import is_sealed, key_id_of

_SQL = queries("verify")
_ERASURES = queries("erasures")


@dataclass(frozen=True, slots=True)
class KeyDestruction:
    """An event `streams.erased` that names a key of the stream. `version` is the event's own."""

    key_id: str
    version: int
    at: datetime
    actor: str


@dataclass(frozen=True, slots=True)
class ErasureProof:
    """The events of a stream in order, those of the destruction of its keys, and its forks with whether they exist.

    `stored_key` is the id of the key that the database still has for the stream, None if it has none. `faults` are
    those that a verification of the stream finds.
    """

    stream_id: str
    events: Sequence[StoredEvent]
    destructions: Sequence[KeyDestruction]
    forks: dict[str, bool]
    stored_key: str | None
    faults: Sequence[str]

    @property
    def deletion(self) -> StoredEvent | None:
        """The event that deleted the object last."""
        return next((event for event in reversed(self.events) if event.type in erasures.DELETIONS), None)

    @property
    def readable(self) -> int:
        """The number of events whose contents can be read."""
        return sum(not is_sealed(event.content) for event in self.events)

    @property
    def problem(self) -> str | None:
        """Why the stream does not count as erased; None if it does."""
        known = {each.key_id for each in self.destructions}
        lost = {key_id_of(event.content) for event in self.events if is_sealed(event.content)} - known
        if self.deletion is None:
            return "its object is not deleted"
        if self.readable:
            return f"{self.readable} of its events can be read"
        if self.stored_key is not None:
            return f"its key {self.stored_key} exists"
        if lost:
            return f"no event says that its key {min(lost)} was destroyed"
        return f"{len(self.faults)} faults were found" if self.faults else None

    def to_json(self) -> dict[str, Any]:
        """Returns the proof as JSON. Hashes are in hexadecimal digits."""
        return {
            "stream_id": self.stream_id,
            "is_erased": self.problem is None,
            "problem": self.problem,
            "events": [
                {
                    "version": event.version,
                    "type": event.type,
                    "at": event.at.isoformat(),
                    "actor": event.actor,
                    "request_id": event.request_id,
                    "is_readable": not is_sealed(event.content),
                    "commitment": event.commitment.hex(),
                    "leaf": event.leaf.hex(),
                }
                for event in self.events
            ],
            "destroyed_keys": [
                {"key_id": each.key_id, "version": each.version, "at": each.at.isoformat(), "actor": each.actor}
                for each in self.destructions
            ],
            "stored_key": self.stored_key,
            "forks": [{"thread_id": id, "exists": exists} for id, exists in self.forks.items()],
            "faults": list(self.faults),
        }


async def prove_erasure(db: Connection, stream_id: str) -> ErasureProof | None:
    """Returns what is left of the stream; None if there is no such stream. The connection must be lenient."""
    events = [StoredEvent._make(row) for row in await db.fetch(_SQL["events"], [stream_id])]
    if not events:
        return None
    destructions, forks = list[KeyDestruction](), dict[str, None]()
    for row in await db.fetch(_ERASURES["events"], INSTALLATION_ID):
        event = codec.load(leaves.content_json(row["content"]), row["schema_version"])
        assert isinstance(event, StreamsErased)
        for stream in event.streams:
            if stream.stream_id == stream_id:
                destructions.append(KeyDestruction(stream.key_id, row["version"], row["at"], row["actor"]))
                forks |= dict.fromkeys(stream.forks)
    existing = await erasures.existing_threads(db, forks)
    return ErasureProof(
        stream_id=stream_id,
        events=events,
        destructions=destructions,
        forks={id: id in existing for id in forks},
        stored_key=await db.fetchval(_ERASURES["key_id"], stream_id),
        faults=[str(fault) for fault in (await check_batch(db, [stream_id])).faults],
    )
