"""Plans the import of an export: finds the streams that it has and this installation lacks, or has less of.

An export is verified while it is read, and nothing is written before all of it is known to be sound.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson

from events.installation import INSTALLATION_ID
from events.leaves import content_json
from events.streams import KEY, PROJECT, SESSION, WEBHOOK_ENDPOINT
from service.audit.notes import VerifierKey
from service.exports.containers import read_files
from service.exports.export_check import ExportCheck, ExportResult
from service.exports.layout import MANIFEST, ExportedEvent, ExportFault, Manifest, checkpoint_path, load_event
from service.imports.event_spool import EventSpool
from service.wire.ocsf import kind_of
from sql import queries
from sql.connection import Connection

# Heads that one statement reads.
HEADS_PAGE = 1000
# Conflicts that are named.
MAX_CONFLICTS = 10
# Kinds of streams that are not imported: they hold the secrets of another installation, or what people did to it.
NOT_IMPORTED = frozenset({"installation", KEY.name, SESSION.name, WEBHOOK_ENDPOINT.name})
_SQL = queries("imports")


class ImportConflict(Exception):
    """This installation has another object under an id of the export. Nothing was written."""


@dataclass(slots=True)
class ExportedStream:
    """A stream of an export, which has its versions from `first` to `version`. `leaf` is that of the last one."""

    stream_id: str
    kind: str
    project_id: str
    first: int
    version: int = 0
    leaf: bytes = b""
    is_erased: bool = False
    # The version that this installation has: 0 if it does not have the stream.
    present: int = 0
    present_leaf: bytes = b""

    @property
    def to_add(self) -> int:
        """The number of events that the import adds."""
        return max(0, self.version - self.present)


@dataclass(frozen=True, slots=True)
class ExpectedBlob:
    bytes: int
    sha256: str


@dataclass(slots=True)
class ReadExport:
    """A verified export. `blobs` are the bytes of files by their keys. `checkpoint` is the newest one, a signed note.

    `left_out` has the numbers of streams that no import adds, by the reason.
    """

    manifest: Manifest
    manifest_hash: str
    checkpoint: str | None
    streams: list[ExportedStream]
    blobs: Mapping[str, ExpectedBlob]
    left_out: dict[str, int]


@dataclass(slots=True)
class ImportOrder:
    """The streams to add to, in the order of the log. `present` are those of which everything is here."""

    streams: list[ExportedStream]
    present: int
    left_out: dict[str, int]

    @property
    def events(self) -> int:
        return sum(stream.to_add for stream in self.streams)


@dataclass(slots=True)
class _Reader:
    """Reads the files of an export into a spool, and notes what is in it."""

    spool: EventSpool
    streams: dict[str, ExportedStream] = field(default_factory=dict)
    blobs: dict[str, ExpectedBlob] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    manifest_hash: str = ""

    def add(self, path: str, data: bytes) -> None:
        if path == MANIFEST:
            self.manifest_hash = sha256(data).hexdigest()
        elif path.startswith("log/") and path.endswith("/checkpoint"):
            self.notes[path] = data.decode(errors="replace")
        elif path.startswith("events/"):
            for line in data.splitlines():
                try:
                    event = load_event(line)
                except ValueError:
                    continue  # the check has reported it
                self._add_event(event, line)

    def _add_event(self, event: ExportedEvent, line: bytes) -> None:
        envelope = event.envelope
        stream = self.streams.get(envelope.stream_id)
        if stream is None:
            kind = INSTALLATION_ID if envelope.stream_id == INSTALLATION_ID else kind_of(envelope.type) or ""
            stream = ExportedStream(envelope.stream_id, kind, envelope.project_id, envelope.version)
            self.streams[envelope.stream_id] = stream
        stream.version, stream.leaf = envelope.version, event.leaf
        if event.content is None:
            stream.is_erased = True
        elif envelope.type == "file.created":
            created: dict[str, Any] = orjson.loads(content_json(event.content))
            self.blobs[created["blob"]] = ExpectedBlob(created["bytes"], created["sha256"])
        if stream.kind not in NOT_IMPORTED:
            self.spool.add(envelope.stream_id, line)


def read_export(
    place: Path,
    spool: EventSpool,
    *,
    passphrase: str | None,
    keys: Collection[VerifierKey],
    on_progress: Callable[[ExportResult], None],
) -> ReadExport:
    """Reads and verifies an export. Raises ExportFault with the first fault, and OSError."""
    check, reader = ExportCheck(keys, ()), _Reader(spool)
    for path, data in read_files(place, passphrase):
        check.add(path, data)
        if check.result.faults:
            break
        reader.add(path, data)
        on_progress(check.result)
    result = check.finish() if not check.result.faults else check.result
    if result.faults:
        raise ExportFault(f"{result.faults[0]}. Nothing was imported: see everthread verify {place}")
    assert result.manifest is not None
    spool.flush()
    left_out = dict[str, int]()
    streams = [stream for stream in reader.streams.values() if not _is_left_out(stream, left_out)]
    newest = result.manifest.epochs[-1].epoch if result.manifest.epochs else 0
    checkpoint = reader.notes.get(checkpoint_path(newest))
    return ReadExport(
        manifest=result.manifest,
        manifest_hash=reader.manifest_hash,
        checkpoint=checkpoint,
        streams=streams,
        blobs=reader.blobs,
        left_out=left_out,
    )


def _is_left_out(stream: ExportedStream, left_out: dict[str, int]) -> bool:
    reason = None
    if stream.kind in NOT_IMPORTED:
        reason = f"{stream.kind.replace('_', ' ')}: these are never imported"
    elif stream.is_erased:
        reason = "erased before the export"
    elif stream.first != 1:
        reason = "the export lacks their first events"
    if reason is not None:
        left_out[reason] = left_out.get(reason, 0) + 1
    return reason is not None


async def plan_import(db: Connection, export: ReadExport, spool: EventSpool, forgotten: Collection[str]) -> ImportOrder:
    """Compares the streams of an export with those of this installation. `forgotten` are streams that were erased here.

    Raises ImportConflict.
    """
    order, conflicts = ImportOrder([], 0, dict(export.left_out)), list[str]()
    for start in range(0, len(export.streams), HEADS_PAGE):
        page = export.streams[start : start + HEADS_PAGE]
        rows = await db.fetch(_SQL["heads"], [stream.stream_id for stream in page], [stream.version for stream in page])
        heads = {row["stream_id"]: row for row in rows}
        for stream in page:
            head = heads.get(stream.stream_id)
            if head is not None:
                stream.present, stream.present_leaf = head["version"], head["leaf"]
            if stream.stream_id in forgotten:
                order.left_out["erased here"] = order.left_out.get("erased here", 0) + 1
            elif head is None:
                order.streams.append(stream)
            elif not _is_same(stream, head, spool):
                if stream.kind == PROJECT.name:
                    reason = "projects that this installation has too"
                    order.left_out[reason] = order.left_out.get(reason, 0) + 1
                else:
                    conflicts.append(stream.stream_id)
            elif stream.to_add:
                order.streams.append(stream)
            else:
                order.present += 1
    if conflicts:
        named = ", ".join(conflicts[:MAX_CONFLICTS])
        more = f" and {len(conflicts) - MAX_CONFLICTS} more" if len(conflicts) > MAX_CONFLICTS else ""
        raise ImportConflict(f"This installation has other events under the ids {named}{more}: nothing was imported.")
    return order


def _is_same(stream: ExportedStream, head: Mapping[str, Any], spool: EventSpool) -> bool:
    """Whether one of both histories of a stream begins with the other one."""
    if head["kind"] != stream.kind:
        return False
    if head["version"] >= stream.version:
        return bool(head["leaf_there"] == stream.leaf)
    [last] = spool.read(stream.stream_id, head["version"] - 1, head["version"])
    return bool(last.leaf == head["leaf"])
