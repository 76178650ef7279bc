"""Adds the events of an export to this installation, with their ids, times, actors and leaves.

The stream `installation` says first which streams get events of another log, up to which version and leaf, so that
they never pass for native ones. Then one transaction a batch adds the events, encrypts their contents under new keys
if this installation is encrypted, and makes the views as a rebuild does. So a stream is there whole or not at all, and
an import that was broken off goes on when it is repeated.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from events import event_log
from events.envelope import Origin
from events.installation import (
    INSTALLATION_PROJECT,
    ImportedStream,
    ImportEnded,
    ImportStarted,
    RecordActs,
    StreamsImported,
)
from events.streams import stream_type_named
from projections.rebuild import rebuild
from service.audit.acts import write_installation
from service.exports.layout import ExportedEvent, ExportFault
from service.imports.event_spool import EventSpool
from service.imports.export_plan import ExportedStream, ImportConflict, ImportOrder, ReadExport
from service.storage.base import BlobMissing, Blobs
from service.writer import Writer
from sql import queries
from sql.connection import Connection, key_store
from sql.row_operations import execute_in_order
from sql.sealed_columns import SEALED_KINDS
from sql.seals import StreamKey

# Events and streams of one transaction, unless one stream has more.
BATCH_EVENTS = 2000
BATCH_STREAMS = 200
# Events that are copied at once.
COPY_EVENTS = 500
# Events of one row of the log.
MAX_APPEND = 100
# Seconds that a statement may take.
STATEMENT_S = 600.0

_SQL = queries("imports")
_EVENT_COLUMNS = (
    *("stream_id", "version", "type", "at", "project_id", "actor", "request_id", "cause", "schema_version"),
    *("software_version", "algorithm", "client", "key_id", "content", "commitment", "leaf"),
)
_PENDING_COLUMNS = ("at", "stream_id", "first_version", "project_id", "actor", "request_id", "types", "leaves")


@dataclass(slots=True)
class ImportProgress:
    """The work so far. `missing_blobs` are the keys of files whose bytes the export does not have."""

    streams: int = 0
    events: int = 0
    blobs: int = 0
    missing_blobs: set[str] = field(default_factory=set)


class ExportImporter:
    """The import of one export. `on_progress` is called after each batch and each file."""

    def __init__(
        self,
        writer: Writer,
        blobs: Blobs,
        spool: EventSpool,
        *,
        origin: Origin,
        import_id: str,
        on_progress: Callable[[ImportProgress], None] = lambda _: None,
    ) -> None:
        self._writer = writer
        self._blobs = blobs
        self._spool = spool
        self._origin = Origin(INSTALLATION_PROJECT, origin.actor)
        self._id = import_id
        self._on_progress = on_progress
        self.progress = ImportProgress()

    async def run(
        self, db: Connection, export: ReadExport, order: ImportOrder, files: Iterable[tuple[str, bytes]]
    ) -> None:
        """Adds what is missing here; changes nothing if that is nothing. `files` are those of the export, again.

        Raises ImportConflict if a stream has changed since the order was made, ExportFault if the export has, and
        StorageError.
        """
        await self._copy_blobs(export.blobs, files)
        if not order.streams:
            return
        epochs = export.manifest.epochs
        started = ImportStarted(
            import_id=self._id,
            origin=epochs[-1].origin if epochs else "",
            checkpoint=export.checkpoint,
            manifest=export.manifest_hash,
            streams=len(order.streams),
            events=order.events,
        )
        await self._record(started)
        for batch in _batches(order.streams):
            await self._record(StreamsImported(import_id=self._id, streams=[_announcement(stream) for stream in batch]))
            async with db.transaction():
                await self._add(db, batch)
            self.progress.streams += len(batch)
            self.progress.events += sum(stream.to_add for stream in batch)
            self._on_progress(self.progress)
        ended = ImportEnded(import_id=self._id, streams=self.progress.streams, events=self.progress.events)
        await self._record(ended)

    async def _record(self, act: ImportStarted | StreamsImported | ImportEnded) -> None:
        await write_installation(self._writer, self._origin, RecordActs((act,)))

    async def _add(self, db: Connection, batch: Sequence[ExportedStream]) -> None:
        """Adds the events of the streams with their heads and views. The caller has begun a transaction."""
        ends = {stream.stream_id: self._last(stream) for stream in batch}
        keys = await _writing_keys(db, batch)
        store = key_store(db)
        epoch = event_log.view_epoch(is_encrypted=store is not None and await store.is_on(db))
        await _open_heads(db, [stream for stream in batch if not stream.present], ends, epoch)
        for stream in batch:
            if stream.present:
                await _move_head(db, stream, ends[stream.stream_id], epoch)
        for stream in batch:
            await self._copy_events(db, stream, keys.get(stream.stream_id))
        await rebuild(db, [stream.stream_id for stream in batch])

    def _last(self, stream: ExportedStream) -> ExportedEvent:
        [last] = self._spool.read(stream.stream_id, stream.version - 1, stream.version)
        return last

    async def _copy_events(self, db: Connection, stream: ExportedStream, key: StreamKey | None) -> None:
        events: list[ExportedEvent] = []
        pending = _Appends()
        for event in self._spool.read(stream.stream_id, stream.present):
            pending.add(event)
            events.append(event)
            if len(events) >= COPY_EVENTS:
                await _copy(db, events, key)
                events = []
        await _copy(db, events, key)
        await db.copy_records_to_table(
            "log_pending", records=pending.rows(), columns=list(_PENDING_COLUMNS), timeout=STATEMENT_S
        )

    async def _copy_blobs(self, expected: Mapping[str, Any], files: Iterable[tuple[str, bytes]]) -> None:
        """Writes the bytes of files that are missing here, and compares them with their events."""
        missing = set(expected)
        parts = ((path.split("/")[1], data) for path, data in files if path.startswith("blobs/"))
        for key, group in groupby(parts, lambda part: part[0]):
            missing.discard(key)
            if key not in expected or await self._has(key):
                continue
            stored = await self._blobs.write(key, _pieces(data for _, data in group))
            if (stored.bytes, stored.sha256) != (expected[key].bytes, expected[key].sha256):
                await self._blobs.delete([key])
                raise ExportFault(f"the bytes {key} are not those of their event: the export was changed")
            self.progress.blobs += 1
            self._on_progress(self.progress)
        self.progress.missing_blobs = {key for key in missing if not await self._has(key)}

    async def _has(self, key: str) -> bool:
        with suppress(BlobMissing):
            async for _ in self._blobs.read(key, 0, 1):
                break
            return True
        return False


class _Appends:
    """Rows of log_pending for events of one stream: one for the neighbours with the same time and origin."""

    def __init__(self) -> None:
        self._rows: list[tuple[tuple[Any, ...], int, list[str], list[bytes]]] = []

    def add(self, event: ExportedEvent) -> None:
        envelope = event.envelope
        at = envelope.at
        if self._rows:
            # The sequencer's order follows these times, so they never decrease within a stream.
            at = max(at, self._rows[-1][0][0])
        same = (at, envelope.stream_id, envelope.project_id, envelope.actor, envelope.request_id)
        if not self._rows or self._rows[-1][0] != same or len(self._rows[-1][2]) >= MAX_APPEND:
            self._rows.append((same, envelope.version, [], []))
        self._rows[-1][2].append(envelope.type)
        self._rows[-1][3].append(event.leaf)

    def rows(self) -> list[tuple[Any, ...]]:
        return [
            (at, stream_id, first, project_id, actor, request_id, types, b"".join(leaves))
            for (at, stream_id, project_id, actor, request_id), first, types, leaves in self._rows
        ]


def _batches(streams: Sequence[ExportedStream]) -> Iterator[list[ExportedStream]]:
    batch, events = list[ExportedStream](), 0
    for stream in streams:
        if batch and (events + stream.version > BATCH_EVENTS or len(batch) >= BATCH_STREAMS):
            yield batch
            batch, events = [], 0
        batch.append(stream)
        events += stream.version
    if batch:
        yield batch


def _announcement(stream: ExportedStream) -> ImportedStream:
    return ImportedStream(
        stream_id=stream.stream_id,
        project_id=stream.project_id,
        after=stream.present,
        version=stream.version,
        leaf=stream.leaf.hex(),
    )


async def _open_heads(
    db: Connection, streams: Sequence[ExportedStream], ends: Mapping[str, ExportedEvent], epoch: int
) -> None:
    """Adds the heads of new streams. Raises ImportConflict if one exists."""
    opened = await db.fetch(
        _SQL["open"],
        [stream.stream_id for stream in streams],
        [stream.kind for stream in streams],
        [stream.project_id for stream in streams],
        [stream.version for stream in streams],
        [ends[stream.stream_id].envelope.at for stream in streams],
        [stream_type_named(stream.kind).state_schema for stream in streams],
        [stream.leaf for stream in streams],
        epoch,
    )
    if refused := {stream.stream_id for stream in streams} - {row["stream_id"] for row in opened}:
        raise _conflict_of(min(refused))


async def _move_head(db: Connection, stream: ExportedStream, end: ExportedEvent, epoch: int) -> None:
    """Moves a head that exists. Raises ImportConflict if it is not where it was."""
    moved = await db.fetchval(
        _SQL["move"],
        stream.stream_id,
        stream.present,
        stream.present_leaf,
        stream.version,
        end.envelope.at,
        stream_type_named(stream.kind).state_schema,
        stream.leaf,
        epoch,
    )
    if moved is None:
        raise _conflict_of(stream.stream_id)


def _conflict_of(stream_id: str) -> ImportConflict:
    return ImportConflict(f"{stream_id} has changed here meanwhile. Repeat the import: it goes on where it ended.")


async def _writing_keys(db: Connection, streams: Sequence[ExportedStream]) -> dict[str, StreamKey]:
    """Returns the keys under which the contents are encrypted; none if nothing is. Stores the new ones."""
    store, keys = key_store(db), dict[str, StreamKey]()
    if store is None:
        return keys
    for stream in streams:
        if stream.kind in SEALED_KINDS:
            writing = await store.for_writing(db, stream.stream_id, is_new=not stream.present)
            if writing is None:
                return {}
            if writing.operation is not None:
                await execute_in_order(db, [writing.operation])
            keys[stream.stream_id] = writing.key
    return keys


async def _copy(db: Connection, events: Sequence[ExportedEvent], key: StreamKey | None) -> None:
    if events:
        records = [_record_of(event, key) for event in events]
        await db.copy_records_to_table("events", records=records, columns=list(_EVENT_COLUMNS), timeout=STATEMENT_S)


def _record_of(event: ExportedEvent, key: StreamKey | None) -> tuple[Any, ...]:
    envelope, content = event.envelope, event.content
    assert content is not None
    if key is not None:
        content = key.seal(content, ("events", envelope.stream_id, envelope.version, "content"))
    return (
        *(envelope.stream_id, envelope.version, envelope.type, envelope.at, envelope.project_id, envelope.actor),
        *(envelope.request_id, envelope.cause, envelope.schema_version, envelope.software_version),
        *(envelope.algorithm, envelope.client, None if key is None else key.id.hex()),
        *(content, event.commitment, event.leaf),
    )


async def _pieces(parts: Iterable[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part
