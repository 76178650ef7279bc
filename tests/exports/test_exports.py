"""An export holds what its scope names, proves itself, goes on after a crash, and shows every change."""

from __future__ import annotations

import io
import json
import re
import shutil
import tarfile
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pyrage
import pytest
import zstandard
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from events import leaves
from events.errors import DomainError
from events.file import CreateFile, DeleteFile
from events.streams import FILE
from events.thread.commands import AddMessage
from service.audit.checkpoint_signer import CheckpointSigner, verifier_key
from service.audit.kept_checkpoints import CheckpointFolder
from service.audit.log_check import KnownCheckpoint
from service.audit.log_tree import LogFault, load_epoch
from service.audit.notes import SignatureType, VerifierKey
from service.audit.signing_key import LocalSigner
from service.database import Pool
from service.exports import containers, exporter, layout
from service.exports.containers import FolderSink, TarSink, read_files
from service.exports.export_check import ExportResult, verify_export
from service.exports.exporter import ExportCut, Exporter, ExportProgress, NothingToExport, load_cut
from service.exports.layout import MANIFEST, ExportedFile, ExportFault, ExportScope, Manifest, load_event
from service.storage.folder import FolderBlobs
from sql.connection import Connection
from tests.audit.test_sequencer import Processes, seal_all
from tests.clock import CLOCK
from tests.events.thread.histories import World
from tests.events.thread.story import add, message
from tests.projections.helpers import ORIGIN, OTHER, make_assistant, make_thread, writer

SIGNER = LocalSigner(Ed25519PrivateKey.from_private_bytes(bytes(32)))
OTHER_KEY = VerifierKey("any", SignatureType.LOG, Ed25519PrivateKey.generate().public_key().public_bytes_raw())
FILE_ID = "file-" + "a" * 24
BYTES = bytes(range(256)) * 40


class Installation:
    """A database with events of several streams, files, a sealed log and a signed checkpoint."""

    def __init__(self, pool: Pool, db: Connection, folder: Path) -> None:
        self.pool = pool
        self.db = db
        self.blobs = FolderBlobs(folder / "blobs")
        self._signer = CheckpointSigner(
            pool, Processes(), SIGNER, clock=CLOCK, folder=CheckpointFolder(folder / "audit")
        )

    async def fill(self) -> None:
        write, random = writer(self.pool), Random(1)
        for number in range(8):
            world = World(random, f"thread_{number}", lifetimes=(0, 600))
            for _ in range(50):
                try:
                    world.absorb((await write.thread(ORIGIN, world.state.id, world.next_command())).recorded)
                except DomainError:
                    continue
        await make_thread(write, "thread_other", "Hello", origin=OTHER)
        await make_assistant(write, "asst_1", OTHER)
        await self.add_file(FILE_ID, BYTES)
        await self.add_file("file-" + "b" * 24, b"")
        await make_thread(write, "thread_file")
        named = message("See the file", "msg_file")
        attachment = {"file_id": FILE_ID, "tools": [{"type": "file_search"}]}
        await write.thread(ORIGIN, "thread_file", add())
        await write.thread(ORIGIN, "thread_file", _attach(named, attachment))
        await self.sign()

    async def add_file(self, id: str, data: bytes) -> None:
        stored = await self.blobs.write(f"blob_{id}", _pieces(data))
        create = CreateFile("a.bin", "assistants", stored.bytes, stored.sha256, "text/plain", None, f"blob_{id}")
        await writer(self.pool).write(FILE, ORIGIN, id, create)

    async def sign(self) -> None:
        """Gives all events their indexes, and signs a checkpoint."""
        await seal_all(self.db)
        await self._signer.scan()

    async def key(self) -> VerifierKey:
        return verifier_key(await load_epoch(self.db), SIGNER)

    async def export(
        self,
        place: Path,
        scope: ExportScope | None = None,
        *,
        passphrase: str | None = None,
        spoil: Callable[[int], None] = lambda _: None,
    ) -> ExportProgress:
        """Exports into a folder or a tar file. `spoil` is called with the number of each file before it is written."""
        scope = scope or ExportScope(has_files=True)
        cut = await load_cut(self.db)
        sink: FolderSink | TarSink
        if place.suffix == ".zst":
            sink = TarSink(place, passphrase)
        else:
            sink = FolderSink(place, {"scope": scope.to_json(), "cut": cut.to_json()}, passphrase)
            cut = ExportCut.from_json(sink.order["cut"])
        wrapped = _SpoiledSink(sink, spoil)
        try:
            export = Exporter(
                self.pool,
                self.blobs if scope.has_files else None,
                wrapped,
                scope=scope,
                cut=cut,
                on_progress=lambda _: None,
                files=sink.files,
                next_index=sink.next_index,
            )
            return await export.run(CLOCK.now(), str(await self.key()))
        finally:
            sink.close()


class _SpoiledSink:
    def __init__(self, sink: FolderSink | TarSink, spoil: Callable[[int], None]) -> None:
        self._sink = sink
        self._spoil = spoil
        self._count = 0

    def add(self, file: ExportedFile, data: bytes, next_index: int | None = None) -> None:
        self._spoil(self._count)
        self._count += 1
        self._sink.add(file, data, next_index)

    def finish(self, manifest: bytes) -> None:
        self._spoil(self._count)
        self._sink.finish(manifest)


def _attach(named: Any, attachment: dict[str, Any]) -> Any:
    return AddMessage(replace(named, attachments=[attachment]), False)


async def _pieces(data: bytes) -> AsyncIterator[bytes]:
    yield data


@pytest.fixture(autouse=True)
def _small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exports of a few events have several files of events, and blobs several parts."""
    monkeypatch.setattr(exporter, "EVENTS_FILE_BYTES", 60_000)
    monkeypatch.setattr(exporter, "PART_BYTES", 4096)


@pytest.fixture
async def installation(pool: Pool, db: Connection, tmp_path: Path) -> Installation:
    found = Installation(pool, db, tmp_path)
    await found.fill()
    return found


def verify(place: Path, key: VerifierKey | None = None, passphrase: str | None = None, **known: Any) -> ExportResult:
    return verify_export(read_files(place, passphrase), keys=[] if key is None else [key], **known)


def lines_of(place: Path, passphrase: str | None = None) -> list[dict[str, Any]]:
    files = read_files(place, passphrase)
    return [orjson.loads(line) for path, data in files if path.startswith("events/") for line in data.splitlines()]


@pytest.mark.parametrize("passphrase", [None, "correct horse"])
@pytest.mark.parametrize("name", ["export", "export.tar.zst"])
async def test_an_export_of_all_proves_itself(
    installation: Installation, tmp_path: Path, name: str, passphrase: str | None
) -> None:
    place = tmp_path / name
    progress = await installation.export(place, passphrase=passphrase)
    result = verify(place, await installation.key(), passphrase)
    assert result.faults == []
    rows = await installation.db.fetch("SELECT stream_id, version, content, leaf FROM events")
    assert result.signed == result.events == progress.count == len(rows) > 256  # so that a tile is full
    assert result.blobs == progress.blobs == 2
    stored = {(row["stream_id"], row["version"]): (row["content"], row["leaf"]) for row in rows}
    found = [load_event(orjson.dumps(line)) for line in lines_of(place, passphrase)]
    assert {(e.envelope.stream_id, e.envelope.version): (e.content, e.leaf) for e in found} == stored
    assert [event.index for event in found] == list(range(len(rows)))
    files = dict(read_files(place, passphrase))
    parts = [files[path] for path in sorted(files) if path.startswith(f"blobs/blob_{FILE_ID}/")]
    assert b"".join(parts) == BYTES
    assert len(parts) == 3
    assert len([path for path in files if path.startswith("events/")]) > 2


async def test_scopes(installation: Installation, tmp_path: Path) -> None:
    db, key = installation.db, await installation.key()

    async def export(name: str, **scope: Any) -> tuple[list[dict[str, Any]], ExportResult]:
        await installation.export(tmp_path / name, ExportScope(**scope))
        result = verify(tmp_path / name, key)
        assert result.faults == []
        return lines_of(tmp_path / name), result

    of_project, _ = await export("project", project_id="proj_2")
    assert {line["stream_id"] for line in of_project} == {"thread_other", "asst_1"}
    of_thread, _ = await export("thread", thread_id="thread_file")
    assert {line["stream_id"] for line in of_thread} == {"thread_file"}
    with_files, result = await export("thread_with_files", thread_id="thread_file", has_files=True)
    assert {line["stream_id"] for line in with_files} == {"thread_file", FILE_ID}
    assert result.blobs == 1
    middle = await db.fetchval("SELECT at FROM log_ranges ORDER BY first_index OFFSET 30 LIMIT 1")
    early, _ = await export("early", until=middle)
    late, _ = await export("late", since=middle)
    everything, _ = await export("all")
    assert [line["index"] for line in early + late] == [line["index"] for line in everything]
    with pytest.raises(NothingToExport, match="There is no thread thread_none"):
        await export("none", thread_id="thread_none")


async def test_the_newest_checkpoint_ends_an_export(installation: Installation, tmp_path: Path) -> None:
    signed = await installation.db.fetchval("SELECT count(*) FROM events")
    await make_thread(writer(installation.pool), "thread_late", "Not signed yet")
    await seal_all(installation.db)
    await installation.export(tmp_path / "export")
    assert len(lines_of(tmp_path / "export")) == signed
    assert verify(tmp_path / "export", await installation.key()).faults == []


async def test_without_a_checkpoint_there_is_no_export(pool: Pool, db: Connection, tmp_path: Path) -> None:
    await make_thread(writer(pool), "thread_1", "Hello")
    with pytest.raises(NothingToExport, match="no checkpoint yet"):
        await Installation(pool, db, tmp_path).export(tmp_path / "export")


@pytest.mark.slow
@pytest.mark.parametrize("passphrase", [None, "correct horse"])
async def test_an_export_goes_on_after_a_crash_at_any_file(
    installation: Installation, tmp_path: Path, passphrase: str | None
) -> None:
    """The server writes between the tries, and the export still shows the moment of its beginning."""
    crash, is_whole = 0, False
    while not is_whole:
        whole, place = tmp_path / f"whole_{crash}", tmp_path / f"crash_{crash}"
        await installation.export(whole, passphrase=passphrase)
        expected = _without_time(read_files(whole, passphrase))

        def fail(number: int, crash: int = crash) -> None:
            if number == crash:
                raise OSError("no space")

        is_whole = crash >= len(expected)
        if not is_whole:
            with pytest.raises(OSError, match="no space"):
                await installation.export(place, passphrase=passphrase, spoil=fail)
            with pytest.raises(ExportFault, match="has not ended"):
                verify(place, passphrase=passphrase)
            with (place / containers.JOURNAL).open("ab") as journal:
                journal.write(b'{"path": "ev')  # the process was killed while it wrote
            await make_thread(writer(installation.pool), f"thread_new_{crash}", "Hello")
            await installation.sign()
        await installation.export(place, passphrase=passphrase)
        assert _without_time(read_files(place, passphrase)) == expected
        crash += 1 if passphrase is None else 5


def _without_time(files: Iterator[tuple[str, bytes]]) -> dict[str, bytes]:
    """Returns the files, and in the manifest no time at which the export was made."""
    found = dict(files)
    manifest = Manifest.parse(found[MANIFEST])
    return found | {MANIFEST: manifest.model_copy(update={"made_at": ""}).to_bytes()}


async def test_another_export_does_not_go_on_in_a_folder(installation: Installation, tmp_path: Path) -> None:
    place = tmp_path / "export"

    def fail(number: int) -> None:
        if number == 3:
            raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        await installation.export(place, spoil=fail)
    with pytest.raises(ExportFault, match="another scope"):
        await installation.export(place, ExportScope(project_id="proj_2"))
    with pytest.raises(ExportFault, match="another scope"):
        await installation.export(place, passphrase="correct horse")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("mine")
    with pytest.raises(ExportFault, match="is not empty"):
        await installation.export(tmp_path / "full")
    assert (tmp_path / "full" / "letter.txt").read_text() == "mine"


async def test_a_tar_file_that_is_not_whole_has_no_name(installation: Installation, tmp_path: Path) -> None:
    place = tmp_path / "export.tar.zst"

    def fail(number: int) -> None:
        if number == 5:
            raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        await installation.export(place, spoil=fail)
    assert not list(tmp_path.glob("export*"))
    await installation.export(place)
    with pytest.raises(ExportFault, match="exists"):
        await installation.export(place)


async def test_a_deleted_file_is_named_as_missing(installation: Installation, tmp_path: Path) -> None:
    await writer(installation.pool).write(FILE, ORIGIN, FILE_ID, DeleteFile())
    await installation.blobs.delete([f"blob_{FILE_ID}"])
    await installation.sign()
    await installation.export(tmp_path / "export")
    result = verify(tmp_path / "export", await installation.key())
    assert result.faults == []
    assert result.manifest is not None
    assert result.manifest.missing_blobs == [f"blob_{FILE_ID}"]
    assert result.blobs == 1


async def test_a_removed_event_stops_the_export(installation: Installation, tmp_path: Path) -> None:
    await installation.db.execute("DELETE FROM events WHERE stream_id = 'thread_file' AND version = 2")
    with pytest.raises(LogFault, match="is missing"):
        await installation.export(tmp_path / "export")


async def test_every_changed_byte_and_every_missing_file_is_found(installation: Installation, tmp_path: Path) -> None:
    place, random = tmp_path / "export", Random(2)
    await installation.export(place)
    key = await installation.key()
    for path in [path for path in sorted(place.rglob("*")) if path.is_file()]:
        whole = path.read_bytes()
        at = random.randrange(len(whole)) if whole else 0
        for data in (whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] if whole else b"x", whole + b"\n", None):
            path.unlink() if data is None else path.write_bytes(data)
            assert _faults(place, key), path
        path.write_bytes(whole)
    assert _faults(place, key) == []
    (place / "letter.txt").write_text("mine")
    assert _faults(place, key) == ["letter.txt is not in the manifest"]


def _faults(place: Path, key: VerifierKey | None = None) -> list[str]:
    try:
        return verify(place, key).faults
    except ExportFault as error:
        return [str(error)]


def _change_content(line: dict[str, Any]) -> None:
    """Changes an event as one who knows the format would: with its commitment and its leaf."""
    line["content"] = line["content"].replace("{", "{ ", 1)
    event = load_event(orjson.dumps(line))
    assert event.content is not None
    commitment = leaves.commit(event.content)
    leaf = leaves.hash_leaf(event.envelope, commitment, event.previous)
    line["commitment"], line["leaf"] = layout._encode(commitment), layout._encode(leaf)


def _swap(lines: list[dict[str, Any]], at: int) -> None:
    lines[at], lines[at + 1] = lines[at + 1], lines[at]


# Changes of the last file of events by somebody who writes a new manifest, and the fault that is found.
FORGERIES: dict[str, tuple[Callable[[list[dict[str, Any]]], object], str]] = {
    "changed": (lambda lines: _change_content(lines[-1]), "the log has another event at the index"),
    "removed": (lambda lines: lines.pop(), "of the [0-9]+ events of the log"),
    "repeated": (lambda lines: lines.append(lines[-1]), "twice, or in another order"),
    "reordered": (lambda lines: _swap(lines, -2), "twice, or in another order"),
    "another time": (lambda lines: lines[-1].update(at=1), "the envelope was changed"),
    "another actor": (lambda lines: lines[-1].update(actor="key:key_other"), "the envelope was changed"),
    "another index": (lambda lines: lines[-1].update(index=10**9), "the tile for the event at the index"),
    "no text": (lambda lines: lines[-1].update(content=None), "a line is no event"),
    "taken out": (lambda lines: lines[-1].update(content=None, salt=None), "no event of the export says"),
    "a wide version": (lambda lines: lines[-1].update(version=2**70), "the envelope was changed|no event"),
}


@pytest.mark.parametrize("name", FORGERIES)
async def test_a_forged_export_is_found(installation: Installation, tmp_path: Path, name: str) -> None:
    place, (forge, fault) = tmp_path / "export", FORGERIES[name]
    await installation.export(place)
    path = max(place.glob("events/*.jsonl"))
    lines = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    forge(lines)
    path.write_bytes(b"".join(_json_line(line) for line in lines))
    _forge_manifest(place)
    faults = "\n".join(_faults(place, await installation.key()))
    assert re.search(fault, faults), faults


def _json_line(value: Any) -> bytes:
    return json.dumps(value).encode() + b"\n"


def _forge_manifest(place: Path) -> None:
    """Writes a manifest that fits the files."""
    manifest = Manifest.parse((place / MANIFEST).read_bytes())
    files = []
    for file in manifest.files:
        data = (place / file.path).read_bytes()
        events = len(data.splitlines()) if file.path.startswith("events/") else 0
        changes = {"bytes": len(data), "sha256": sha256(data).hexdigest(), "events": events}
        files.append(file.model_copy(update=changes))
    total = sum(file.events for file in files)
    (place / MANIFEST).write_bytes(manifest.model_copy(update={"files": files, "events": total}).to_bytes())


def _change_manifest(place: Path, **changes: Any) -> None:
    manifest = Manifest.parse((place / MANIFEST).read_bytes())
    (place / MANIFEST).write_bytes(manifest.model_copy(update=changes).to_bytes())


async def test_events_that_no_signature_covers_are_found(installation: Installation, tmp_path: Path) -> None:
    """The maker of an export can write any manifest, so a key must vouch for each event."""
    whole, key = tmp_path / "whole", await installation.key()
    await installation.export(whole)
    [epoch] = Manifest.parse((whole / MANIFEST).read_bytes()).epochs
    unsigned = epoch.model_copy(update={"checkpoint_size": 0})
    second = epoch.model_copy(update={"epoch": 2, "origin": "everthread/x/2", "first_index": epoch.size, "size": 0})
    grown = second.model_copy(update={"size": 3, "checkpoint_size": 0})
    before = epoch.model_copy(update={"checkpoint_size": 0, "origin": "everthread/x/1"})
    for name, epochs, fault in (
        ("no checkpoint", [unsigned], "nothing vouches for the rest"),
        ("a smaller one", [epoch.model_copy(update={"checkpoint_size": 3})], "of another log or size"),
        ("an epoch behind", [epoch, grown], "nothing vouches for the rest"),
        ("an epoch before", [before, epoch.model_copy(update={"epoch": 2})], "does not follow the one before it"),
        ("other numbers", [epoch.model_copy(update={"epoch": 2})], "does not follow the one before it"),
    ):
        place = tmp_path / name.replace(" ", "_")
        shutil.copytree(whole, place)
        _change_manifest(place, epochs=epochs)
        assert fault in "\n".join(_faults(place, key)), name
    _change_manifest(whole, epochs=[epoch, second.model_copy(update={"checkpoint_size": 0})])
    assert _faults(whole, key) == []  # an epoch that has just begun


async def test_events_outside_the_scope_are_found(installation: Installation, tmp_path: Path) -> None:
    place = tmp_path / "export"
    await installation.export(place)
    manifest = Manifest.parse((place / MANIFEST).read_bytes())
    _change_manifest(place, scope=manifest.scope.model_copy(update={"project": "proj_2"}))
    assert "has events of the project proj_1" in "\n".join(_faults(place))
    _change_manifest(place, scope=manifest.scope.model_copy(update={"thread": "thread_file"}))
    assert "has events of thread_other, which is no file" in "\n".join(_faults(place))


async def test_keys_and_checkpoints_from_elsewhere(installation: Installation, tmp_path: Path) -> None:
    place = tmp_path / "export"
    await installation.export(place)
    [fault] = _faults(place, OTHER_KEY)
    assert fault.startswith("epoch 1 of the log: its checkpoint is not valid")
    note = (place / "log/1/checkpoint").read_text()
    same = KnownCheckpoint.parse(note, "the checkpoint kept.txt")
    assert verify(place, known=[same]).faults == []
    elsewhere = KnownCheckpoint.parse(note.replace("/1\n", "/2\n", 1), "the checkpoint kept.txt")
    assert "which the export does not know" in "\n".join(verify(place, known=[elsewhere]).faults)
    origin, size, _, *rest = note.splitlines()
    forged = "\n".join([origin, size, "A" * 43 + "=", *rest]) + "\n"
    other = KnownCheckpoint.parse(forged, "the checkpoint kept.txt")
    text = "the log was rewritten or forked: it has another root than the checkpoint kept.txt"
    assert verify(place, known=[other]).faults == [text]


@pytest.mark.slow
async def test_passphrases(installation: Installation, tmp_path: Path) -> None:
    place = tmp_path / "export"
    await installation.export(place, passphrase="correct horse")
    with pytest.raises(ExportFault, match="is encrypted: give the file with its passphrase"):
        verify(place)
    with pytest.raises(ExportFault, match="the passphrase is another one"):
        verify(place, passphrase="battery staple")
    await installation.export(tmp_path / "open")
    with pytest.raises(ExportFault, match="is not encrypted, and a passphrase was given"):
        verify(tmp_path / "open", passphrase="correct horse")
    raw = b"".join(path.read_bytes() for path in place.rglob("*") if path.is_file())
    for secret in (b"thread_file", b"See the file", BYTES[:64], b"everthread-export"):
        assert secret not in raw
    # The files are of the format of age, so that its tool opens them too.
    identity = pyrage.passphrase.decrypt((place / "key.age").read_bytes(), "correct horse").decode().strip()
    sealed = (place / f"{MANIFEST}.zst.age").read_bytes()
    opened = pyrage.decrypt(sealed, [pyrage.x25519.Identity.from_str(identity)])
    assert Manifest.parse(zstandard.ZstdDecompressor().stream_reader(opened).read()).events > 0
    (place / f"{MANIFEST}.zst.age").write_bytes(sealed[:-1] + bytes([sealed[-1] ^ 1]))
    with pytest.raises(ExportFault, match=r"manifest.json.zst.age cannot be decrypted"):
        verify(place, passphrase="correct horse")


def _tar(place: Path, members: dict[str, bytes], type: bytes = tarfile.REGTYPE) -> Path:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size, member.type = len(data), type
            tar.addfile(member, io.BytesIO(data))
    place.write_bytes(zstandard.ZstdCompressor().compress(packed.getvalue()))
    return place


def test_hostile_tar_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "MAX_FILE_BYTES", 1000)
    for name in ("../x", "/etc/passwd", "events/../../x", "a b", ""):
        with pytest.raises(ExportFault):
            verify(_tar(tmp_path / "hostile.tar.zst", {name: b"x"}))
    with pytest.raises(ExportFault, match="has more than 1000 bytes"):
        verify(_tar(tmp_path / "bomb.tar.zst", {"events/000000.jsonl": bytes(1001)}))
    with pytest.raises(ExportFault, match="is no file"):
        verify(_tar(tmp_path / "link.tar.zst", {"link": b""}, tarfile.SYMTYPE))
    whole = _tar(tmp_path / "cut.tar.zst", {"events/000000.jsonl": Random(1).randbytes(900)})
    whole.write_bytes(whole.read_bytes()[:-300])
    with pytest.raises(ExportFault, match=r"is broken|is no export"):
        verify(whole)
    (tmp_path / "text.tar.zst").write_text("hello")
    with pytest.raises(ExportFault, match="is no export"):
        verify(tmp_path / "text.tar.zst")
    with pytest.raises(ExportFault, match="has no export"):
        verify(tmp_path)
    assert verify(_tar(tmp_path / "empty.tar.zst", {})).faults == ["manifest.json is missing: the export is not whole"]
    shutil.rmtree(tmp_path)
