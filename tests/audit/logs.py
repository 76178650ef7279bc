"""A log in memory: its entries and all its tiles."""

from __future__ import annotations

from service.audit.merkle import hash_entry
from service.audit.tiles import TileHashes, TilePlace, TreeEdge


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


def numbered_log(size: int) -> MemoryLog:
    return MemoryLog([b"entry %d" % number for number in range(size)])
