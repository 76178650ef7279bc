"""The Merkle tree of the log in the database: full tiles, which are stored, and all others, made from the ranges.

The leaf 0 of an epoch's tree is the event with the index `first_index` of the epoch. All tiles follow from log_ranges.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from events.leaves import NO_LEAF, Envelope, commit, encode_entry
from service.audit.merkle import HASH_BYTES, Node, hash_entry
from service.audit.tiles import (
    FULL_WIDTH,
    TileHashes,
    TilePlace,
    TreeEdge,
    edge_places,
    hash_complete,
    place_of,
    split_hashes,
    tile_width,
)
from sql import queries
from sql.connection import Connection

# Ranges that one query reads while the tree grows.
RANGES = 500

_SQL = queries("log_tree")


class LogFault(Exception):
    """The log in the database contradicts itself or a checkpoint. The message says where; it goes to the operator."""


class LogRegression(LogFault):
    """The log is in an older state than this process has seen."""


@dataclass(frozen=True, slots=True)
class LogEpoch:
    """An epoch of the log. Its tree begins with the event at `first_index`, and its checkpoints name `origin`.

    `next_index` is the first index of the next epoch, None if this is the newest one.
    """

    epoch: int
    origin: str
    first_index: int
    next_index: int | None = None

    @property
    def installation(self) -> str:
        """The name of the installation: the middle of the origin `everthread/<installation>/<epoch>`."""
        return self.origin.split("/")[1]


@dataclass(frozen=True, slots=True)
class SizedEpoch:
    """An epoch, and the number of leaves of its tree."""

    epoch: LogEpoch
    size: int

    @property
    def end(self) -> int:
        """The index after its last event."""
        return self.epoch.first_index + self.size


@dataclass(frozen=True, slots=True)
class LatestCheckpoint:
    """The newest checkpoint in the database; `note` is None if none was ever signed."""

    epoch: int
    size: int
    at: datetime
    note: str | None


async def load_epoch(db: Connection) -> LogEpoch:
    """Returns the newest epoch. Raises LogFault if there is none."""
    row = await db.fetchrow(_SQL["epoch"])
    if row is None:
        raise LogFault("the database has no epoch of the log")
    return LogEpoch(**row)


async def load_epochs(db: Connection) -> list[LogEpoch]:
    """Returns all epochs, the oldest first."""
    return [LogEpoch(**row) for row in await db.fetch(_SQL["epochs"])]


async def load_sizes(db: Connection) -> list[SizedEpoch]:
    """Returns all epochs, the oldest first, and the sizes of their trees."""
    rows = [dict(row) for row in await db.fetch(_SQL["sizes"])]
    return [SizedEpoch(size=row.pop("size"), epoch=LogEpoch(**row)) for row in rows]


async def load_latest(db: Connection) -> LatestCheckpoint:
    """Returns the newest checkpoint."""
    return LatestCheckpoint(**await db.fetchrow(_SQL["latest"]))  # type: ignore[arg-type]


async def load_last_signed(db: Connection, epoch: LogEpoch) -> LatestCheckpoint | None:
    """Returns the newest checkpoint of an epoch that the database has; None if it has none."""
    row = await db.fetchrow(_SQL["last_signed"], epoch.epoch)
    return None if row is None else LatestCheckpoint(**row)


async def load_kept(db: Connection, epoch: LogEpoch, size: int) -> str | None:
    """Returns the note of a kept checkpoint; None if none of this size is kept."""
    note: str | None = await db.fetchval(_SQL["kept"], epoch.epoch, size)
    return note


async def load_size(db: Connection, epoch: LogEpoch) -> int:
    """Returns the number of leaves of the epoch's tree."""
    end: int = await db.fetchval(_SQL["end"], epoch.next_index)
    return max(0, end - epoch.first_index)


async def load_edge(db: Connection, epoch: LogEpoch) -> TreeEdge:
    """Returns the right edge of the tree that the stored tiles describe. Raises LogFault if some are missing."""
    size = FULL_WIDTH * await db.fetchval(_SQL["full_tiles"], epoch.epoch)
    tiles = {place: await load_tile(db, epoch, place, tile_width(place, size)) for place in edge_places(size)}
    return TreeEdge(size, tiles)


async def grow_edge(db: Connection, epoch: LogEpoch, edge: TreeEdge) -> None:
    """Adds the leaves that the log has beyond the edge to it, and stores the tiles that become full.

    Raises LogFault if the log has a gap.
    """
    while True:
        leaves = await _read_leaves(db, epoch, edge.size)
        if not leaves:
            return
        full = edge.append(leaves)
        if full:
            roots = [hash_complete(split_hashes(tile)) for tile in full.values()]
            levels, numbers = [place.level for place in full], [place.number for place in full]
            await db.execute(_SQL["add_tiles"], epoch.epoch, levels, numbers, list(full.values()), roots)


async def load_tile(db: Connection, epoch: LogEpoch, place: TilePlace, width: int) -> bytes:
    """Returns the first `width` hashes of a tile. Raises LogFault if the log does not have them."""
    stored = await db.fetchval(_SQL["tile"], epoch.epoch, place.level, place.number)
    first, hashes = place.number * FULL_WIDTH, list[bytes]()
    if stored is not None:
        hashes = split_hashes(stored)
    elif place.level:
        rows = await db.fetch(_SQL["roots"], epoch.epoch, place.level - 1, first, first + width)
        hashes = [row["root"] for row in rows]
    else:
        while len(hashes) < width:
            more = await _read_leaves(db, epoch, first + len(hashes))
            if not more:
                break
            hashes += more
    if len(hashes) < width:
        raise LogFault(f"the log lacks hashes of the tile {place.number} at level {place.level}")
    return b"".join(hashes[:width])


async def load_hashes(db: Connection, epoch: LogEpoch, nodes: Iterable[Node], size: int) -> TileHashes:
    """Returns the hashes of the tiles that hold these subtrees of the tree with `size` leaves. Raises LogFault."""
    places = {place_of(node) for node in nodes}
    return TileHashes({place: await load_tile(db, epoch, place, tile_width(place, size)) for place in sorted(places)})


async def load_leaf(db: Connection, epoch: LogEpoch, number: int) -> bytes:
    """Returns the leaf `number` of the epoch's tree. Raises LogFault if the log ends before it."""
    rows = await db.fetch(_SQL["leaves"], epoch.first_index + number, 1, epoch.next_index)
    at = (epoch.first_index + number - rows[0]["first_index"]) * HASH_BYTES if rows else 0
    leaf: bytes = rows[0]["leaves"][at : at + HASH_BYTES] if rows else b""
    if at < 0 or len(leaf) < HASH_BYTES:
        raise LogFault(f"the log has no event at the index {epoch.first_index + number}")
    return leaf


async def load_entries(db: Connection, epoch: LogEpoch, begin: int, end: int) -> list[bytes]:
    """Returns the log entries of the tree's leaves from `begin` to `end`, without the last.

    Raises LogFault if an event is missing.
    """
    rows = await db.fetch(_SQL["entries"], epoch.first_index + begin, epoch.first_index + end)
    entries = []
    for place, row in enumerate(rows, epoch.first_index + begin):
        if row["log_index"] != place:
            break
        columns = dict(row)
        commitment, previous = columns.pop("commitment"), columns.pop("previous")
        del columns["log_index"]
        try:
            entry = encode_entry(Envelope(**columns), commitment, NO_LEAF if previous is None else previous)
        except ValueError as error:
            raise LogFault(f"the event with the index {place} was changed: {error}") from None
        entries.append(entry)
    if len(entries) != end - begin:
        raise LogFault(f"the event with the index {epoch.first_index + begin + len(entries)} is missing")
    return entries


def find_epoch(epochs: Sequence[LogEpoch], index: int) -> LogEpoch | None:
    """Returns the epoch whose tree has the event with an index."""
    found = [epoch for epoch in epochs if epoch.first_index <= index]
    return found[-1] if found else None


async def load_index(db: Connection, stream_id: str, version: int) -> int | None:
    """Returns the index of an event in the log of all epochs; None if it has none."""
    index: int | None = await db.fetchval(_SQL["index_of"], stream_id, version)
    return index


async def load_content(db: Connection, stream_id: str, version: int) -> bytes:
    """Returns the content of an event: its salt and its JSON. Raises LogFault if it is missing or was changed."""
    row = await db.fetchrow(_SQL["content"], stream_id, version)
    if row is None:
        raise LogFault(f"version {version} of {stream_id} is missing")
    content = bytes(row["content"])
    if commit(content) != row["commitment"]:
        raise LogFault(f"the content of version {version} of {stream_id} was changed")
    return content


def check_entry(entry: bytes, leaf: bytes) -> None:
    """Raises LogFault if the leaf in the log is not that of the entry: the event was changed."""
    if hash_entry(entry) != leaf:
        raise LogFault("the event was changed: its leaf in the log is another one")


async def _read_leaves(db: Connection, epoch: LogEpoch, number: int) -> list[bytes]:
    """Returns leaves of the epoch's tree from `number` on, none if it ends there.

    Raises LogFault if the log has a gap.
    """
    index = epoch.first_index + number
    rows = await db.fetch(_SQL["leaves"], index, RANGES, epoch.next_index)
    leaves, end = list[bytes](), None
    for row in rows:
        begin, found = row["first_index"], row["leaves"]
        if begin > index + len(leaves) or (end is not None and begin != end):
            raise LogFault(f"the log has no event at the index {index + len(leaves)}")
        end = begin + len(found) // HASH_BYTES
        leaves += split_hashes(found)[max(0, index - begin) :]
    return leaves
