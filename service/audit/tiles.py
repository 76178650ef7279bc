"""Tiles: the form in which the hashes and the entries of the log are stored and served (https://c2sp.org/tlog-tiles).

A full tile at level L has 256 hashes. Each of them is the root of 256**L leaves. The rightmost tile of a level may be
partial. An entry bundle has the entries of a tile at level 0, each after its length as a 16-bit integer.

Everything here is pure.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from service.audit.merkle import HASH_BYTES, Node, hash_children, hash_peaks

HEIGHT = 8
FULL_WIDTH = 1 << HEIGHT
MAX_LEVEL = 63
MAX_ENTRY_BYTES = 0xFFFF
_NUMBER = r"(?:x[0-9]{3}/)*[0-9]{3}"
_PATH = re.compile(rf"tile/(?P<level>[0-9]{{1,2}}|entries)/(?P<number>{_NUMBER})(?:\.p/(?P<width>[0-9]{{1,3}}))?")
_LENGTH = struct.Struct(">H")


class TilePlace(NamedTuple):
    """The place of a tile: its level, and its number within the level."""

    level: int
    number: int


@dataclass(frozen=True, slots=True)
class TileResource:
    """A tile, or an entry bundle if `level` is None, of `width` hashes or entries: 1 to FULL_WIDTH."""

    level: int | None
    number: int
    width: int = FULL_WIDTH

    @property
    def path(self) -> str:
        """The path below the log's prefix, such as `tile/0/x001/234` or `tile/entries/007.p/12`."""
        kind = "entries" if self.level is None else str(self.level)
        partial = "" if self.width == FULL_WIDTH else f".p/{self.width}"
        return f"tile/{kind}/{_encode_number(self.number)}{partial}"

    @property
    def end(self) -> int:
        """The smallest number of leaves of a tree that has this tile."""
        return (self.number * FULL_WIDTH + self.width) << (HEIGHT * (self.level or 0))


def parse_path(path: str) -> TileResource:
    """Returns the resource with this path. Raises ValueError if the path is not one that a log may have."""
    found = _PATH.fullmatch(path)
    if found is None:
        raise ValueError(f"not a path of a tile: {path}")
    kind, width = found["level"], found["width"]
    resource = TileResource(
        level=None if kind == "entries" else int(kind),
        number=int(found["number"].replace("x", "").replace("/", "")),
        width=FULL_WIDTH if width is None else int(width),
    )
    if resource.path != path or (resource.level or 0) > MAX_LEVEL or not 0 < resource.width <= FULL_WIDTH:
        raise ValueError(f"not a path of a tile: {path}")
    return resource


def place_of(node: Node) -> TilePlace:
    """Returns the place of the tile from which the hash of the subtree follows."""
    level, above = divmod(node.level, HEIGHT)
    return TilePlace(level, node.number >> (HEIGHT - above))


def tile_width(place: TilePlace, size: int) -> int:
    """Returns the number of hashes of a tile in a tree of `size` leaves. It is 0 if the tree lacks the tile."""
    return min(FULL_WIDTH, max(0, (size >> (HEIGHT * place.level)) - place.number * FULL_WIDTH))


def tile_node(node: Node, tile: bytes) -> bytes:
    """Returns the hash of a subtree from the tile at `place_of(node)`. Raises ValueError if the tile is too short."""
    above = node.level % HEIGHT
    first = (node.number << above) % FULL_WIDTH
    hashes = split_hashes(tile)[first : first + (1 << above)]
    if len(hashes) < 1 << above:
        raise ValueError(f"the tile lacks hashes of {node}")
    return hash_complete(hashes)


class TileHashes:
    """The hashes of loaded tiles, for `merkle.py` to read. Raises LookupError if a tile is missing."""

    def __init__(self, tiles: Mapping[TilePlace, bytes]) -> None:
        self._tiles = tiles

    def __call__(self, node: Node) -> bytes:
        return tile_node(node, self._tiles[place_of(node)])


class TreeEdge:
    """The partial tiles at the right edge of a growing tree. Leaves are appended to it; full tiles come out of it.

    It holds all that the next root needs: at most 255 hashes a level.
    """

    def __init__(self, size: int = 0, tiles: Mapping[TilePlace, bytes] | None = None) -> None:
        """Opens the edge of a tree of `size` leaves. `tiles` has its partial tiles, as `edge_places` lists them."""
        self.size = size
        self._hashes: list[list[bytes]] = []
        for place in edge_places(size):
            width = tile_width(place, size)
            self._hashes += [[] for _ in range(place.level - len(self._hashes))]
            self._hashes.append(split_hashes((tiles or {})[place])[:width])
            if len(self._hashes[-1]) < width:
                raise ValueError(f"the tile at {place} has fewer than {width} hashes")

    def append(self, leaves: Iterable[bytes]) -> dict[TilePlace, bytes]:
        """Appends hashes of leaves. Returns the tiles that have become full."""
        full: dict[TilePlace, bytes] = {}
        for leaf in leaves:
            self.size += 1
            self._add(0, leaf, full)
        return full

    def _add(self, level: int, item: bytes, full: dict[TilePlace, bytes]) -> None:
        if level == len(self._hashes):
            self._hashes.append([])
        hashes = self._hashes[level]
        hashes.append(item)
        if len(hashes) == FULL_WIDTH:
            full[TilePlace(level, (self.size >> (HEIGHT * (level + 1))) - 1)] = b"".join(hashes)
            root = hash_complete(hashes)
            hashes.clear()
            self._add(level + 1, root, full)

    def partial_tiles(self) -> dict[TilePlace, bytes]:
        """Returns the partial tiles of the tree."""
        return {place: b"".join(self._hashes[place.level]) for place in edge_places(self.size)}

    def root(self) -> bytes:
        """Returns the root of the tree."""
        peaks: list[bytes] = []
        for hashes in reversed(self._hashes):
            begin = 0
            while begin < len(hashes):
                count = 1 << (len(hashes) - begin).bit_length() - 1
                peaks.append(hash_complete(hashes[begin : begin + count]))
                begin += count
        return hash_peaks(peaks)


def edge_places(size: int) -> list[TilePlace]:
    """Returns the places of the partial tiles of a tree, from the lowest level."""
    levels = range((size.bit_length() + HEIGHT - 1) // HEIGHT)
    counts = [size >> (HEIGHT * level) for level in levels]
    return [TilePlace(level, count // FULL_WIDTH) for level, count in enumerate(counts) if count % FULL_WIDTH]


def hash_complete(hashes: list[bytes]) -> bytes:
    """Returns the root over the roots of equal subtrees. Their number is a power of two."""
    while len(hashes) > 1:
        hashes = [hash_children(hashes[i], hashes[i + 1]) for i in range(0, len(hashes), 2)]
    return hashes[0]


def split_hashes(tile: bytes) -> list[bytes]:
    """Returns the hashes of a tile. Raises ValueError if the tile is no sequence of hashes."""
    if len(tile) % HASH_BYTES:
        raise ValueError(f"a tile has {len(tile)} bytes, which is no multiple of {HASH_BYTES}")
    return [tile[at : at + HASH_BYTES] for at in range(0, len(tile), HASH_BYTES)]


def encode_bundle(entries: Iterable[bytes]) -> bytes:
    """Returns an entry bundle. Raises ValueError if an entry has more than MAX_ENTRY_BYTES bytes."""
    parts: list[bytes] = []
    for entry in entries:
        if len(entry) > MAX_ENTRY_BYTES:
            raise ValueError(f"an entry has {len(entry)} bytes; a bundle allows {MAX_ENTRY_BYTES}")
        parts += (_LENGTH.pack(len(entry)), entry)
    return b"".join(parts)


def decode_bundle(bundle: bytes) -> list[bytes]:
    """Returns the entries of a bundle. Raises ValueError if the bundle ends within an entry."""
    entries, at = [], 0
    while at < len(bundle):
        if at + _LENGTH.size > len(bundle):
            raise ValueError("the bundle ends within a length")
        (length,) = _LENGTH.unpack_from(bundle, at)
        at += _LENGTH.size
        if at + length > len(bundle):
            raise ValueError("the bundle ends within an entry")
        entries.append(bundle[at : at + length])
        at += length
    return entries


def _encode_number(number: int) -> str:
    digits = str(number)
    digits = digits.zfill(-(-len(digits) // 3) * 3)
    groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
    return "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])
