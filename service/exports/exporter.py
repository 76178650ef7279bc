"""Makes an export: the events of a scope up to the newest checkpoint, the hashes that prove them, and bytes of files.

The events up to a checkpoint never change, so servers may write meanwhile.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from hashlib import sha256
from types import MappingProxyType
from typing import Any

from events import codec, event_log
from events.file import FileCreated
from events.leaves import content_json
from events.software_version import SOFTWARE_VERSION
from service.audit.log_tree import LogEpoch, LogFault, load_epochs, load_last_signed, load_sizes, load_tile
from service.audit.tiles import FULL_WIDTH, HEIGHT, TilePlace, TileResource, tile_width
from service.database import Pool
from service.exports.containers import ExportSink
from service.exports.layout import (
    EVENTS_FILE_BYTES,
    FORMAT,
    PART_BYTES,
    ExportedFile,
    ExportEpoch,
    ExportScope,
    Manifest,
    ManifestEpoch,
    ManifestFile,
    ManifestScope,
    checkpoint_path,
    dump_event,
    events_path,
    part_path,
    tile_path,
)
from service.storage.base import BlobMissing, Blobs
from service.storage.checked_read import BlobChanged, KnownBlob, read_checked
from sql import queries
from sql.connection import Connection

# Ranges of the log that are read at once.
RANGES = 500
PAGE = 1000
# Files that a thread may name and that come along with it.
MAX_THREAD_FILES = 10_000

_SQL = queries("exports")
_FILE_ID = re.compile(rb'"((?:file|assistant)-[A-Za-z0-9_-]{1,120})"')


class NothingToExport(Exception):
    """There is no checkpoint, or no such thread. The message says which."""


@dataclass(frozen=True, slots=True)
class ExportCut:
    """The moment that an export shows: the epochs of the log, and their checkpoints by epoch."""

    epochs: Sequence[ExportEpoch]
    notes: dict[int, str]

    @property
    def end(self) -> int:
        """The index after the last event."""
        return self.epochs[-1].end

    def to_json(self) -> dict[str, Any]:
        """Returns the cut as the journal of an export keeps it."""
        return {"epochs": [asdict(epoch) for epoch in self.epochs], "notes": {str(k): v for k, v in self.notes.items()}}

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> ExportCut:
        notes = {int(epoch): note for epoch, note in found["notes"].items()}
        return cls([ExportEpoch(**epoch) for epoch in found["epochs"]], notes)


@dataclass(slots=True)
class ExportProgress:
    """The work of an export so far: the log up to the index `index`, of `end`; `count` events, `last_index` the last.

    `bytes` are those of `blobs` files.
    """

    end: int
    index: int = 0
    count: int = 0
    last_index: int | None = None
    blobs: int = 0
    bytes: int = 0


async def load_cut(db: Connection) -> ExportCut:
    """Returns the newest moment that a checkpoint covers. Raises NothingToExport if there is none."""
    epochs, notes = list[ExportEpoch](), dict[int, str]()
    for sized in await load_sizes(db):
        epoch = sized.epoch
        signed = await load_last_signed(db, epoch)
        size = 0 if signed is None else signed.size
        if signed is not None and signed.note is not None:
            notes[epoch.epoch] = signed.note
        epochs.append(
            ExportEpoch(
                epoch=epoch.epoch,
                origin=epoch.origin,
                first_index=epoch.first_index,
                size=size if epoch.next_index is None else sized.size,
                checkpoint_size=size,
            )
        )
    if not epochs or not notes:
        raise NothingToExport("The log has no checkpoint yet. Start the server, and try again after a second.")
    return ExportCut(epochs, notes)


class Exporter:
    """An export at work. It writes `cut`, the moment that `load_cut` found, into the sink.

    `files` are those that an earlier try has written, by path, and `next_index` is the index to go on with behind them.
    """

    def __init__(
        self,
        pool: Pool,
        blobs: Blobs | None,
        sink: ExportSink,
        *,
        scope: ExportScope,
        cut: ExportCut,
        on_progress: Callable[[ExportProgress], None],
        files: Mapping[str, ExportedFile] = MappingProxyType({}),
        next_index: int = 0,
    ) -> None:
        self._pool = pool
        self._blobs = blobs
        self._sink = sink
        self._scope = scope
        self._cut = cut
        self._on_progress = on_progress
        self._files = dict(files)
        self._next_index = next_index
        self._streams: list[str] | None = None
        self._spans: dict[int, LogEpoch] = {}
        self._missing: list[str] = []
        self.progress = ExportProgress(cut.end, next_index, sum(file.events for file in files.values()))

    async def run(self, made_at: datetime, log_key: str | None) -> ExportProgress:
        """Writes the export. Raises NothingToExport, LogFault, StorageError, OSError, and asyncpg's errors."""
        async with self._pool.acquire() as db:
            self._spans = {epoch.epoch: epoch for epoch in await load_epochs(db)}
            if self._scope.thread_id is not None:
                self._streams = await self._find_streams(db, self._scope.thread_id)
            for epoch in self._cut.epochs:
                await self._add_tree(db, epoch)
            await self._add_events(db)
            if self._blobs is not None:
                await self._add_blobs(db, self._blobs)
        manifest = Manifest(
            format=FORMAT,
            software=SOFTWARE_VERSION,
            made_at=made_at.isoformat(),
            scope=ManifestScope(**self._scope.to_json()),
            epochs=[ManifestEpoch(**asdict(epoch)) for epoch in self._cut.epochs],
            log_key=log_key,
            events=self.progress.count,
            blobs=self.progress.blobs,
            missing_blobs=sorted(self._missing),
            files=[ManifestFile(**asdict(self._files[path])) for path in sorted(self._files)],
        )
        await asyncio.to_thread(self._sink.finish, manifest.to_bytes())
        return self.progress

    async def _find_streams(self, db: Connection, thread_id: str) -> list[str]:
        """Returns the stream of the thread and, if files come along, those of the files that its events name."""
        named, project_id, version = set[str](), None, 0
        while recorded := await event_log.read(db, thread_id, after=version):
            project_id, version = recorded[0].project_id, recorded[-1].version
            if self._scope.has_files:
                named.update(id.decode() for each in recorded for id in _FILE_ID.findall(codec.dump(each.event)))
        if project_id is None:
            raise NothingToExport(f"There is no thread {thread_id}.")
        if len(named) > MAX_THREAD_FILES:
            raise NothingToExport(f"The thread names more than {MAX_THREAD_FILES} files: export its project.")
        found = await db.fetch(_SQL["files_of_project"], project_id, sorted(named))
        return [thread_id, *(row["stream_id"] for row in found)]

    async def _add_tree(self, db: Connection, epoch: ExportEpoch) -> None:
        """Adds the checkpoint of an epoch, and the tiles from which its root follows."""
        note = self._cut.notes.get(epoch.epoch)
        if note is not None:
            await self._add(checkpoint_path(epoch.epoch), note.encode())
        level = 1
        while count := -(-(epoch.size >> (HEIGHT * level)) // FULL_WIDTH):
            for number in range(count):
                await self._add_tile(db, epoch, TilePlace(level, number))
            level += 1
        # The edges of the tree at the checkpoint and at the end of the epoch.
        for size in {epoch.size, epoch.checkpoint_size} - {0}:
            if size % FULL_WIDTH:
                await self._add_tile(db, epoch, TilePlace(0, size // FULL_WIDTH))

    async def _add_tile(self, db: Connection, epoch: ExportEpoch, place: TilePlace) -> None:
        width = tile_width(place, epoch.size)
        path = tile_path(epoch.epoch, TileResource(place.level, place.number, width).path)
        if path not in self._files:
            await self._add(path, await load_tile(db, self._spans[epoch.epoch], place, width))

    async def _add_events(self, db: Connection) -> None:
        """Adds the events in the order of the log. An export that goes on begins behind the last file of events."""
        start = self._next_index
        number = sum(path.startswith("events/") for path in self._files)
        lines, size, tiles = list[bytes](), 0, dict[tuple[int, int], ExportEpoch]()
        async for row in self._read_events(db, start):
            line = dump_event(row["log_index"], row)
            lines.append(line)
            size += len(line)
            epoch = next(epoch for epoch in reversed(self._cut.epochs) if epoch.first_index <= row["log_index"])
            tiles[(epoch.epoch, (row["log_index"] - epoch.first_index) // FULL_WIDTH)] = epoch
            # A range is never divided: the next file begins with the next one.
            if size >= EVENTS_FILE_BYTES and row["log_index"] == row["first_index"] + row["count"] - 1:
                await self._add_events_file(
                    db, number, lines, tiles, last_index=row["log_index"], next_index=row["log_index"] + 1
                )
                number, lines, size, tiles = number + 1, [], 0, {}
        if lines:
            await self._add_events_file(db, number, lines, tiles, last_index=row["log_index"], next_index=self._cut.end)

    async def _add_events_file(
        self,
        db: Connection,
        number: int,
        lines: Sequence[bytes],
        tiles: dict[tuple[int, int], ExportEpoch],
        *,
        last_index: int,
        next_index: int,
    ) -> None:
        """Adds the tiles with the leaves of the events, and then the events."""
        for (_, tile), epoch in tiles.items():
            await self._add_tile(db, epoch, TilePlace(0, tile))
        await self._add(events_path(number), b"".join(lines), events=len(lines), next_index=next_index)
        self.progress.count += len(lines)
        self.progress.index, self.progress.last_index = next_index, last_index
        self._on_progress(self.progress)

    async def _read_events(self, db: Connection, start: int) -> AsyncIterator[Any]:
        """Yields rows of events. Raises LogFault if the log names an event that is missing."""
        scope = self._scope
        while True:
            rows = await db.fetch(
                _SQL["page"],
                start,
                self._cut.end,
                scope.project_id,
                self._streams,
                scope.since,
                scope.until,
                RANGES,
            )
            if not rows:
                return
            counts = {row["first_index"]: row["count"] for row in rows}
            if len(rows) != sum(counts.values()) or any(row["version"] is None for row in rows):
                raise LogFault(f"an event with an index from {min(counts)} to {max(counts)} is missing")
            for row in rows:
                if row["log_index"] < self._cut.end:
                    yield row
            start = max(counts) + 1

    async def _add_blobs(self, db: Connection, blobs: Blobs) -> None:
        last, scope = "", self._scope
        while rows := await db.fetch(
            _SQL["created_files"],
            last,
            self._cut.end,
            scope.project_id,
            self._streams,
            scope.since,
            scope.until,
            PAGE,
        ):
            for row in rows:
                created = codec.load(content_json(row["content"]), row["schema_version"])
                if isinstance(created, FileCreated):
                    blob = KnownBlob(
                        key=created.blob, size=created.bytes, sha256=created.sha256, segments=created.segments
                    )
                    await self._add_blob(blobs, blob)
            last = rows[-1]["stream_id"]

    async def _add_blob(self, blobs: Blobs, blob: KnownBlob) -> None:
        """Adds the bytes of a file in parts. Those that were deleted or changed are missing."""
        part, number = bytearray(), 0
        try:
            async for piece in read_checked(blobs, blob):
                part += piece
                while len(part) >= PART_BYTES:
                    await self._add(part_path(blob.key, number), bytes(part[:PART_BYTES]))
                    del part[:PART_BYTES]
                    number += 1
            if part or number == 0:
                await self._add(part_path(blob.key, number), bytes(part))
        except (BlobMissing, BlobChanged):
            # Parts that came before the change stay in the export, which names the file among the missing ones.
            self._missing.append(blob.key)
            return
        self.progress.blobs += 1
        self.progress.bytes += blob.size
        self._on_progress(self.progress)

    async def _add(self, path: str, data: bytes, *, events: int = 0, next_index: int | None = None) -> None:
        if path not in self._files:
            file = ExportedFile(path, len(data), sha256(data).hexdigest(), events)
            await asyncio.to_thread(self._sink.add, file, data, next_index)
            self._files[path] = file
