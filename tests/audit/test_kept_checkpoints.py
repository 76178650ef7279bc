"""The files of kept checkpoints: a torn or changed one spoils no other."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from service.audit.checkpoint import Checkpoint
from service.audit.checkpoint_signer import verifier_key
from service.audit.kept_checkpoints import DAYS, CheckpointFolder
from service.audit.log_tree import LogEpoch
from service.audit.notes import FormatError, Note, NoteSignature
from service.audit.signing_key import LocalSigner
from tests.events.thread.story import T0

SIGNER = LocalSigner(Ed25519PrivateKey.from_private_bytes(bytes(32)))
EPOCH = LogEpoch(1, "everthread/inst_1/1", 0)


@pytest.fixture
async def notes() -> list[Note]:
    key, found = verifier_key(EPOCH, SIGNER), list[Note]()
    for size in (1, 2, 3):
        text = Checkpoint(EPOCH.origin, size, bytes([size]) * 32).text
        found.append(Note(text, (NoteSignature.of(key, await SIGNER.sign(text.encode())),)))
    return found


def _read(folder: CheckpointFolder) -> tuple[list[Note], int]:
    """Returns the checkpoints of a folder, and the number of texts that are none."""
    found, broken = list[Note](), 0
    for text, _ in folder.read_days():
        try:
            note = Note.parse(text)
            Checkpoint.parse(note.text)
            found.append(note)
        except FormatError:
            broken += 1
    return found, broken


def test_kept_checkpoints_are_read(tmp_path: Path, notes: list[Note]) -> None:
    folder = CheckpointFolder(tmp_path)
    assert _read(folder) == ([], 0)
    for note in notes:
        folder.keep(note, T0)
    assert _read(folder) == (notes, 0)
    assert (tmp_path / DAYS / T0.date().isoformat()).read_text() == "".join(f"{note}\n" for note in notes)


def test_a_torn_checkpoint_spoils_no_other(tmp_path: Path, notes: list[Note]) -> None:
    """A crash can end a write at any byte. The next checkpoint is written behind it."""
    folder, first, torn, last = CheckpointFolder(tmp_path), *notes
    day = tmp_path / DAYS / T0.date().isoformat()
    whole = f"{torn}\n".encode()
    for length in range(1, len(whole)):
        day.unlink(missing_ok=True)
        folder.keep(first, T0)
        day.write_bytes(day.read_bytes() + whole[:length])
        found, broken = _read(folder)
        assert found[:1] == [first]
        assert (len(found), broken) in ((1, 1), (1, 2), (2, 0)), "it is named, or is whole but for the empty line"
        folder.keep(last, T0)
        after, broken = _read(folder)
        assert (after[0], after[-1]) == (first, last)
        assert (len(after), broken) in ((2, 1), (2, 2), (3, 0))


def test_bytes_that_are_no_text_are_named(tmp_path: Path, notes: list[Note]) -> None:
    folder = CheckpointFolder(tmp_path)
    folder.keep(notes[0], T0)
    day = tmp_path / DAYS / T0.date().isoformat()
    day.write_bytes(day.read_bytes() + b"\xff\xfe\n")
    folder.keep(notes[1], T0)
    assert _read(folder) == (notes[:2], 1)
