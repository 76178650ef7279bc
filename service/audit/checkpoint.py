"""Checkpoints: the size and the root of the log at some time, as the text of a signed note.

The formats are https://c2sp.org/tlog-checkpoint, and the request and the answers of a witness that cosigns a
checkpoint, https://c2sp.org/tlog-witness. Everything here is pure.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Self

from service.audit.merkle import HASH_BYTES
from service.audit.notes import FormatError, Note, NoteSignature, VerifierKey, decode_base64, encode_base64

MAX_SIZE = 2**63 - 1
# Hashes of a consistency proof that a witness accepts.
MAX_PROOF_LINES = 63
_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The root of the log's first `size` leaves. `origin` names the log. Our checkpoints have no extension lines."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Returns the checkpoint of a note's text. Raises FormatError."""
        lines = text.removesuffix("\n").split("\n")
        if not text.endswith("\n") or len(lines) < 3 or not all(lines):
            raise FormatError("a checkpoint has three lines or more, none of them empty")
        root = decode_base64(lines[2])
        if len(root) != HASH_BYTES:
            raise FormatError(f"the root has {len(root)} bytes, not {HASH_BYTES}")
        return cls(lines[0], parse_number(lines[1]), root, tuple(lines[3:]))

    @property
    def text(self) -> str:
        """The text of the note."""
        return "".join(f"{line}\n" for line in (self.origin, self.size, encode_base64(self.root), *self.extensions))


def open_checkpoint(note: Note, log_key: VerifierKey) -> Checkpoint:
    """Returns the checkpoint in a note that the log's key signed.

    Raises SignatureError if it did not, and FormatError if the note has no checkpoint of the log that the key names.
    """
    note.verify([log_key])
    checkpoint = Checkpoint.parse(note.text)
    if checkpoint.origin != log_key.name:
        raise FormatError(f"the checkpoint is of the log {checkpoint.origin}, not of {log_key.name}")
    return checkpoint


def render_witness_request(old_size: int, proof: Sequence[bytes], note: Note) -> str:
    """Returns the body of a request to cosign a checkpoint (tlog-witness, "add-checkpoint").

    `proof` shows that the checkpoint extends the one with `old_size` leaves. The same text is our consistency proof.
    """
    return "".join([f"old {old_size}\n", *(f"{encode_base64(step)}\n" for step in proof), "\n", str(note)])


def parse_witness_request(body: str) -> tuple[int, list[bytes], Note]:
    """Returns the old size, the consistency proof and the checkpoint's note. Raises FormatError."""
    head, separator, note = body.partition("\n\n")
    first, *steps = head.split("\n")
    if not separator or not first.startswith("old "):
        raise FormatError("the first line is not “old” and a size, or no empty line follows the proof")
    return parse_number(first.removeprefix("old ")), parse_hashes(steps), Note.parse(note)


def add_cosignatures(note: Note, answer: str, witnesses: Collection[VerifierKey]) -> Note:
    """Returns the note with the valid cosignatures of a witness's answer (tlog-witness). It ignores unknown keys.

    A newer cosignature replaces that of the same witness. Raises FormatError if the answer is no signature lines, and
    SignatureError if a witness's signature is wrong or if there is none.
    """
    cosigned = Note.parse(f"{note.text}\n{answer}")
    if cosigned.text != note.text:
        raise FormatError("the answer is no signature lines")
    valid = cosigned.verify(witnesses)
    new: dict[tuple[str, bytes], NoteSignature] = {(key.name, key.id): line for key, line in valid.items()}
    kept = [line for line in note.signatures if (line.name, line.key_id) not in new]
    return Note(note.text, (*kept, *new.values()))


def parse_number(text: str) -> int:
    """Returns a number in decimal digits without leading zeros, of at most MAX_SIZE. Raises FormatError."""
    if not _NUMBER.fullmatch(text) or int(text) > MAX_SIZE:
        raise FormatError(f"not a number: {text[:80]!r}")
    return int(text)


def parse_hashes(lines: Sequence[str]) -> list[bytes]:
    """Returns the hashes of a proof, one a line in base64. Raises FormatError."""
    hashes = [decode_base64(line) for line in lines]
    if len(hashes) > MAX_PROOF_LINES or any(len(item) != HASH_BYTES for item in hashes):
        raise FormatError(f"a proof is up to {MAX_PROOF_LINES} hashes of {HASH_BYTES} bytes")
    return hashes
