"""Proofs of one event, as files that are verified offline (https://c2sp.org/tlog-proof).

The specification leaves the extra data of a proof to the application. Ours is `Evidence`: the entry of the event, and
its salt and JSON if they are given. docs/log-format.md, "Proofs of an event", specifies it. Everything here is pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from service.audit.checkpoint import parse_hashes, parse_number
from service.audit.notes import FormatError, Note, decode_base64, encode_base64

FIRST_LINE = "c2sp.org/tlog-proof@v1"
_EVIDENCE_DOMAIN = b"everthread/evidence/1\n"
_NULL = b"\xff\xff\xff\xff"


@dataclass(frozen=True, slots=True)
class Evidence:
    """The data from which the leaf of an event follows: its log entry.

    `salt` and `json` are given together. The commitment of the entry follows from them.
    """

    entry: bytes
    salt: bytes | None = None
    json: bytes | None = None

    def __bytes__(self) -> bytes:
        return _EVIDENCE_DOMAIN + b"".join(map(_encode_field, (self.entry, self.salt, self.json)))

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Returns the evidence of a proof's extra data. Raises FormatError."""
        if not data.startswith(_EVIDENCE_DOMAIN):
            raise FormatError("the extra data is not that of an Everthread event")
        fields, at = list[bytes | None](), len(_EVIDENCE_DOMAIN)
        for _ in range(3):
            length, at = data[at : at + 4], at + 4
            end = at if length == _NULL else at + int.from_bytes(length, "big")
            if len(length) < 4 or end > len(data):
                raise FormatError("the extra data ends within a field")
            fields.append(None if length == _NULL else data[at:end])
            at = end
        entry, salt, json = fields
        if at != len(data) or entry is None or (salt is None) != (json is None):
            raise FormatError("the extra data has other fields than an entry, or an entry, a salt and JSON")
        return cls(entry, salt, json)


@dataclass(frozen=True, slots=True)
class InclusionProof:
    """The proof that the log in a checkpoint has a leaf at `index`."""

    index: int
    hashes: Sequence[bytes]
    note: Note
    extra: bytes | None = None

    def __str__(self) -> str:
        extra = [] if self.extra is None else [f"extra {encode_base64(self.extra)}"]
        lines = [FIRST_LINE, *extra, f"index {self.index}", *map(encode_base64, self.hashes), "", str(self.note)]
        return "\n".join(lines)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Returns the proof of its exact text. Raises FormatError."""
        head, separator, note = text.partition("\n\n")
        lines = head.split("\n")
        if not separator or lines.pop(0) != FIRST_LINE:
            raise FormatError(f"the first line is not {FIRST_LINE}, or no empty line follows the proof")
        extra = None
        if lines and lines[0].startswith("extra "):
            extra = decode_base64(lines.pop(0).removeprefix("extra "))
        if not lines or not lines[0].startswith("index "):
            raise FormatError("the proof has no line “index” and a number")
        index = parse_number(lines.pop(0).removeprefix("index "))
        return cls(index, parse_hashes(lines), Note.parse(note), extra)


def _encode_field(field: bytes | None) -> bytes:
    return _NULL if field is None else len(field).to_bytes(4, "big") + field
