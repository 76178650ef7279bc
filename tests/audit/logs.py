"""A log in memory: its entries, all its tiles, and its key."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from service.audit.checkpoint import Checkpoint
from service.audit.merkle import hash_entry, tree_root
from service.audit.notes import Note, NoteSignature, SignatureType, VerifierKey
from service.audit.tiles import TileHashes, TilePlace, TreeEdge

ORIGIN = "everthread/0123456789abcdef/1"
SECRET = Ed25519PrivateKey.from_private_bytes(bytes(32))
LOG_KEY = VerifierKey(ORIGIN, SignatureType.LOG, SECRET.public_key().public_bytes_raw())


def sign_note(text: str) -> Note:
    return Note(text, (NoteSignature.of(LOG_KEY, SECRET.sign(text.encode())),))


class MemoryLog:
    """A log of some entries, with the tiles that it would store."""

    def __init__(self, entries: list[bytes]) -> None:
        self.entries = entries
        self.edge = TreeEdge()
        self.tiles: dict[TilePlace, bytes] = {}
        self.tiles |= self.edge.append(hash_entry(entry) for entry in entries)
        self.tiles |= self.edge.partial_tiles()

    @property
    def size(self) -> int:
        return len(self.entries)

    @property
    def read(self) -> TileHashes:
        return TileHashes(self.tiles)

    def checkpoint(self, size: int | None = None) -> Note:
        size = self.size if size is None else size
        return sign_note(Checkpoint(ORIGIN, size, tree_root(size, self.read)).text)


def numbered_log(size: int) -> MemoryLog:
    return MemoryLog([b"entry %d" % number for number in range(size)])
