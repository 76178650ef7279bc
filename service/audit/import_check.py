"""Compares the streams that the log calls imported with their events.

An import announces each stream with the version and the leaf up to which its events come from another log. The leaf
follows from all events up to it, so none of them can be one that was made here.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from events import codec, leaves
from events.installation import INSTALLATION_ID, ImportedStream, StreamsImported
from service.audit.faults import Fault
from sql import queries
from sql.connection import Connection

# Announcements that are read at once.
PAGE = 20
_SQL = queries("imports")


@dataclass(slots=True)
class ImportedPart:
    """The streams that have imported events, each with the version up to which they are imported."""

    versions: dict[str, int] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    @property
    def events(self) -> int:
        return sum(self.versions.values())


async def check_imports(db: Connection) -> ImportedPart:
    """Returns the imported streams. A stream that an import which was broken off has only announced is left out."""
    found, after = ImportedPart(), 0
    while rows := await db.fetch(_SQL["imported"], INSTALLATION_ID, after, PAGE):
        after = rows[-1]["version"]
        streams = list[ImportedStream]()
        for row in rows:
            try:
                event = codec.load(leaves.content_json(row["content"]), row["schema_version"])
            except ValueError:  # the event was changed, which the check of its stream reports
                continue
            if isinstance(event, StreamsImported):
                streams += event.streams
        await _compare(db, streams, found)
    return found


async def _compare(db: Connection, streams: list[ImportedStream], found: ImportedPart) -> None:
    ids, versions = [stream.stream_id for stream in streams], [stream.version for stream in streams]
    stored = {(row["stream_id"], row["version"]): row["leaf"] for row in await db.fetch(_SQL["leaves"], ids, versions)}
    for stream in streams:
        leaf = stored.get((stream.stream_id, stream.version))
        if leaf is None:
            continue
        if leaf.hex() != stream.leaf:
            text = "the event is not the one that was imported, by the stream of the installation"
            found.faults.append(Fault(stream.stream_id, stream.version, text))
        found.versions[stream.stream_id] = max(stream.version, found.versions.get(stream.stream_id, 0))
