"""Verifies an export by itself: no server and no database is needed.

It shows that every file is as the export was made, that every event is in the log whose checkpoints the export has, and
that the bytes of files are those of their events. Only a public key from elsewhere, or a checkpoint that was kept
elsewhere, says that the log is that of the installation.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256

from pydantic import ValidationError

from events import codec, leaves
from events.file import FileCreated
from events.installation import EpochBegun, LogKeyUsed, StreamsErased
from events.leaves import NO_LEAF
from service.audit.log_check import KnownCheckpoint
from service.audit.merkle import HASH_BYTES
from service.audit.notes import FormatError, VerifierKey
from service.exports.layout import MANIFEST, ExportedEvent, ExportFault, Manifest, load_event
from service.exports.log_part import LeafRun, LogPart

# Faults that are reported; more say nothing new.
MAX_FAULTS = 1000


@dataclass(slots=True)
class ExportResult:
    """The work of a verification so far. `manifest` is None until it was read, which is last.

    `signed` is the number of events that the checkpoints cover which a given key signed, or one that the log records.
    `erased` is the number of events without a content: their streams were erased before the export. `unexplained` is
    the number of their streams of which an export of a part does not say that they were erased.
    """

    files: int = 0
    events: int = 0
    blobs: int = 0
    signed: int = 0
    erased: int = 0
    unexplained: int = 0
    manifest: Manifest | None = None
    faults: list[str] = field(default_factory=list)

    def report(self, text: str) -> None:
        """Adds a fault."""
        if len(self.faults) < MAX_FAULTS:
            self.faults.append(text)


@dataclass(frozen=True, slots=True)
class _StreamEnd:
    version: int
    leaf: bytes


class ExportCheck:
    """The check of one export. Call `add` with its files in their order, and then `finish`."""

    def __init__(self, keys: Collection[VerifierKey], known: Collection[KnownCheckpoint]) -> None:
        self.result = ExportResult()
        self._log = LogPart(keys, known, self.result.report)
        self._found: dict[str, tuple[int, str, int]] = {}
        self._ends: dict[str, _StreamEnd] = {}
        # The leaves of the events. They are compared with those of the tiles when the epochs are known.
        self._runs: list[LeafRun] = []
        self._gaps: list[str] = []
        self._created: dict[str, FileCreated] = {}
        # The streams with events without a content, and those that the export says were erased.
        self._emptied: dict[str, None] = {}
        self._erased: set[str] = set()
        self._projects: set[str] = set()
        self._files: set[str] = set()
        self._blob: _BlobCheck | None = None
        self._last_index = -1

    def add(self, path: str, data: bytes) -> None:
        """Checks a file, as far as the files before it allow."""
        result = self.result
        if path in self._found:
            result.report(f"{path} is in the export twice")
            return
        first, _, rest = path.partition("/")
        events = 0
        if path == MANIFEST:
            self._end_blob()
            try:
                result.manifest = Manifest.parse(data)
            except ExportFault as error:
                result.report(str(error))
            return
        if first == "log":
            self._log.add(path, rest, data)
        elif first == "events":
            events = self._add_events(path, data)
        elif first == "blobs":
            self._add_part(path, rest, data)
        self._found[path] = (len(data), sha256(data).hexdigest(), events)
        result.files += 1

    def finish(self) -> ExportResult:
        """Checks the whole, and returns the result."""
        result, manifest = self.result, self.result.manifest
        self._end_blob()
        if manifest is None:
            result.report(f"{MANIFEST} is missing: the export is not whole")
            return result
        self._compare_files(manifest)
        self._log.check(manifest.epochs, self._runs)
        result.signed = self._log.signed
        self._check_places(manifest)
        self._check_scope(manifest)
        self._check_erased(manifest)
        if manifest.scope.since is None:
            for gap in self._gaps:
                result.report(gap)
        if manifest.scope.files:
            for key in sorted(self._created.keys() - set(manifest.missing_blobs)):
                result.report(f"the bytes of the file {key} are missing, or are others")
        return result

    def _add_events(self, path: str, data: bytes) -> int:
        lines = data.splitlines()
        for line in lines:
            try:
                event = load_event(line)
            except ValueError as error:
                self.result.report(f"{path}: a line is no event: {_first_line(error)}")
                continue
            fault = self._find_fault(event)
            if fault is not None:
                self.result.report(f"{event.envelope.stream_id}/{event.envelope.version}: {fault}")
            self.result.events += 1
        return len(lines)

    def _find_fault(self, event: ExportedEvent) -> str | None:
        """Returns the fault of an event; None if it is whole and follows its stream."""
        envelope = event.envelope
        if event.index <= self._last_index:
            return "the event stands in the export twice, or in another order than in the log"
        self._last_index = event.index
        if not self._runs or self._runs[-1].end != event.index:
            self._runs.append(LeafRun(event.index, bytearray()))
        self._runs[-1].leaves.extend(event.leaf[:HASH_BYTES].ljust(HASH_BYTES, b"\0"))
        before = self._ends.get(envelope.stream_id)
        self._ends[envelope.stream_id] = _StreamEnd(envelope.version, event.leaf)
        self._projects.add(envelope.project_id)
        if event.content is None:
            self.result.erased += 1
            self._emptied[envelope.stream_id] = None
        elif leaves.commit(event.content) != event.commitment:
            return "the content was changed"
        try:
            if leaves.hash_leaf(envelope, event.commitment, event.previous) != event.leaf:
                return "the envelope was changed"
        except ValueError as error:
            return f"the envelope was changed: {error}"
        if before is None:
            if envelope.version != 1:
                self._gaps.append(f"{envelope.stream_id}: the events before version {envelope.version} are missing")
            elif event.previous != NO_LEAF:
                return "the first event of a stream follows another one"
        elif envelope.version != before.version + 1:
            return f"the event before it is missing: the export has version {before.version}"
        elif event.previous != before.leaf:
            return "the event does not follow the one before it"
        return self._load(event)

    def _load(self, event: ExportedEvent) -> str | None:
        if event.content is None:
            return None
        try:
            found = codec.load(leaves.content_json(event.content), event.envelope.schema_version)
        except ValueError as error:
            return f"this software cannot read the event: {_first_line(error)}"
        if isinstance(found, FileCreated):
            self._created[found.blob] = found
            self._files.add(event.envelope.stream_id)
        elif isinstance(found, EpochBegun) and found.kept_origin is not None:
            self._log.kept[found.kept_origin] = found
        elif isinstance(found, StreamsErased):
            self._erased.update(stream.stream_id for stream in found.streams)
        elif isinstance(found, LogKeyUsed):
            with suppress(FormatError):
                self._log.recorded.append(VerifierKey.parse(found.verifier_key))
        return None

    def _add_part(self, path: str, rest: str, data: bytes) -> None:
        key, _, number = rest.rpartition("/")
        if self._blob is not None and self._blob.key != key:
            self._end_blob()
        if self._blob is None:
            self._blob = _BlobCheck(key)
        if number != f"{self._blob.parts:06}":
            self.result.report(f"{path}: the part before it is missing")
        self._blob.add(data)

    def _end_blob(self) -> None:
        blob, self._blob = self._blob, None
        if blob is None:
            return
        created = self._created.pop(blob.key, None)
        self.result.blobs += 1
        if created is None:
            self.result.report(f"the bytes {blob.key} are of no file of the export")
        elif (created.bytes, created.sha256) != (blob.size, blob.sha256):
            self._created[blob.key] = created

    def _compare_files(self, manifest: Manifest) -> None:
        listed = {file.path: (file.bytes, file.sha256, file.events) for file in manifest.files}
        for path in sorted(listed.keys() - self._found.keys()):
            self.result.report(f"{path} is missing")
        for path in sorted(self._found.keys() - listed.keys()):
            self.result.report(f"{path} is not in the manifest")
        for path in sorted(path for path in listed.keys() & self._found.keys() if listed[path] != self._found[path]):
            self.result.report(f"{path} was changed: it is not that of the manifest")
        if manifest.events != self.result.events:
            self.result.report(f"{MANIFEST} names {manifest.events} events, and the export has {self.result.events}")

    def _check_places(self, manifest: Manifest) -> None:
        """Checks that the log has each event at its index, and that an export of all has each event of the log."""
        count = 0
        for run in self._runs:
            for at in range(0, len(run.leaves), HASH_BYTES):
                index = run.first + at // HASH_BYTES
                leaf = self._log.leaf(index)
                count += 1
                if leaf is None:
                    self.result.report(f"the tile for the event at the index {index} is missing")
                elif leaf != run.leaves[at : at + HASH_BYTES]:
                    self.result.report(f"the log has another event at the index {index}")
        total = sum(epoch.size for epoch in manifest.epochs)
        if manifest.scope.is_all and count != total:
            self.result.report(f"the export has {count} of the {total} events of the log")

    def _check_erased(self, manifest: Manifest) -> None:
        """Checks that each stream without contents was erased, if the export has the events that would say so."""
        unexplained = [stream_id for stream_id in self._emptied if stream_id not in self._erased]
        if not manifest.scope.is_all:
            self.result.unexplained = len(unexplained)
            return
        for stream_id in unexplained:
            self.result.report(
                f"{stream_id}: contents are missing, and no event of the export says that they were erased"
            )

    def _check_scope(self, manifest: Manifest) -> None:
        """Checks that no event is of another project or thread than those of the scope."""
        project, thread = manifest.scope.project, manifest.scope.thread
        if project is not None:
            for other in sorted(self._projects - {project}):
                self.result.report(f"the export of the project {project} has events of the project {other}")
        if thread is not None:
            for other in sorted(self._ends.keys() - self._files - {thread}):
                self.result.report(f"the export of {thread} has events of {other}, which is no file")


def _first_line(error: ValueError) -> str:
    """Returns the place and the reason of the first problem, without the value, which may be long."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        return f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
    return str(error).partition("\n")[0]


class _BlobCheck:
    """The parts of a blob so far."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.parts = 0
        self.size = 0
        self._hash = sha256()

    def add(self, data: bytes) -> None:
        """Adds the next part."""
        self.parts += 1
        self.size += len(data)
        self._hash.update(data)

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()


def verify_export(
    files: Iterable[tuple[str, bytes]],
    *,
    keys: Collection[VerifierKey] = (),
    known: Collection[KnownCheckpoint] = (),
    on_progress: Callable[[ExportResult], None] = lambda _: None,
) -> ExportResult:
    """Verifies the files of an export, as `read_files` yields them. Raises as the iterator."""
    check = ExportCheck(keys, known)
    for path, data in files:
        check.add(path, data)
        on_progress(check.result)
    return check.finish()
