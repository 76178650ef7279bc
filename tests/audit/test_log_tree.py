"""The tree of the log as tiles in the database, and the entries of its events."""

from __future__ import annotations

import pytest

from service.audit.log_tree import (
    LogFault,
    check_entry,
    grow_edge,
    load_content,
    load_edge,
    load_entries,
    load_epoch,
    load_hashes,
    load_index,
    load_size,
    load_tile,
)
from service.audit.merkle import hash_entry, inclusion_nodes, inclusion_proof, root_nodes, tree_root
from service.audit.tiles import TilePlace, TreeEdge, split_hashes
from service.database import Pool
from sql.connection import Connection
from tests.audit.sealing import fill, grow
from tests.sealed import opened


async def leaves_of(db: Connection) -> list[bytes]:
    rows = await db.fetch("SELECT leaves FROM log_ranges ORDER BY first_index")
    return split_hashes(b"".join(row["leaves"] for row in rows))


def root_of(leaves: list[bytes]) -> bytes:
    edge = TreeEdge()
    edge.append(leaves)
    return edge.root()


@pytest.mark.parametrize("steps", [[0], [1], [255, 256, 257], [300, 300, 66_000], [65_536, 65_537, 131_100]])
async def test_the_tree_grows_with_the_log(db: Connection, steps: list[int]) -> None:
    epoch, edge = await load_epoch(db), TreeEdge()
    for size in steps:
        await fill(db, size)
        await grow_edge(db, epoch, edge)
        leaves = await leaves_of(db)
        assert edge.size == len(leaves) == await load_size(db, epoch) == size
        assert edge.root() == root_of(leaves)
        reopened = await load_edge(db, epoch)
        await grow_edge(db, epoch, reopened)
        assert reopened.root() == edge.root()
        for past in {size, size // 2, size // 256 * 256, min(size, 1)}:
            hashes = await load_hashes(db, epoch, root_nodes(past), past)
            assert tree_root(past, hashes) == root_of(leaves[:past])


async def test_a_log_without_stored_tiles_has_the_same_lowest_tiles(db: Connection) -> None:
    await fill(db, 600)
    epoch, leaves = await load_epoch(db), await leaves_of(db)
    for number, width in ((0, 256), (1, 256), (1, 3), (2, 88)):
        tile = await load_tile(db, epoch, TilePlace(0, number), width)
        assert split_hashes(tile) == leaves[number * 256 : number * 256 + width]
    for place, width in ((TilePlace(0, 2), 89), (TilePlace(0, 3), 1), (TilePlace(1, 0), 1)):
        with pytest.raises(LogFault, match="lacks hashes of the tile"):
            await load_tile(db, epoch, place, width)


async def test_a_gap_is_a_fault(db: Connection) -> None:
    await fill(db, 100)
    await db.execute("DELETE FROM log_ranges WHERE first_index = 49")
    epoch = await load_epoch(db)
    with pytest.raises(LogFault, match="the log has no event at the index 49"):
        await grow_edge(db, epoch, TreeEdge())
    with pytest.raises(LogFault, match="no event at the index 49"):
        await load_tile(db, epoch, TilePlace(0, 0), 100)


async def test_entries_are_those_of_the_leaves(pool: Pool, db: Connection) -> None:
    await grow(pool, db)
    size = await grow(pool, db, "thread_2")
    epoch, leaves = await load_epoch(db), await leaves_of(db)
    for begin, end in ((0, size), (0, 1), (3, 9), (size - 1, size), (2, 2)):
        entries = await load_entries(db, epoch, begin, end)
        assert [hash_entry(entry) for entry in entries] == leaves[begin:end]
    with pytest.raises(LogFault, match=f"index {size} is missing"):
        await load_entries(db, epoch, 0, size + 1)
    await db.execute("DELETE FROM events WHERE stream_id = 'thread_1' AND version = 3")
    index = await load_index(db, "thread_1", 3)
    with pytest.raises(LogFault, match=f"index {index} is missing"):
        await load_entries(db, epoch, 0, size)


async def test_a_changed_event_has_another_entry(pool: Pool, db: Connection) -> None:
    await grow(pool, db)
    epoch = await load_epoch(db)
    index = await load_index(db, "thread_1", 2)
    assert index is not None
    leaf = (await leaves_of(db))[index]
    check_entry((await load_entries(db, epoch, index, index + 1))[0], leaf)
    await db.execute("UPDATE events SET actor = 'key:other' WHERE stream_id = 'thread_1' AND version = 2")
    with pytest.raises(LogFault, match="the event was changed"):
        check_entry((await load_entries(db, epoch, index, index + 1))[0], leaf)


async def test_an_event_is_found_in_the_log(pool: Pool, db: Connection) -> None:
    size = await grow(pool, db)
    epoch, leaves = await load_epoch(db), await leaves_of(db)
    rows = await db.fetch(opened("SELECT stream_id, version, leaf, content FROM events", "events"))
    for row in rows:
        index = await load_index(db, row["stream_id"], row["version"])
        assert index is not None
        assert leaves[index] == row["leaf"]
        assert await load_content(db, row["stream_id"], row["version"]) == row["content"]
        hashes = await load_hashes(db, epoch, inclusion_nodes(index, size), size)
        assert inclusion_proof(index, size, hashes)
    assert await load_index(db, "thread_1", 100) is None
    assert await load_index(db, "thread_9", 1) is None
    with pytest.raises(LogFault, match="version 1 of thread_9 is missing"):
        await load_content(db, "thread_9", 1)


async def test_a_later_epoch_has_a_tree_of_its_own(db: Connection) -> None:
    await fill(db, 300)
    await grow_edge(db, await load_epoch(db), TreeEdge())
    await db.execute("INSERT INTO log_epochs (epoch, origin, first_index) VALUES (2, 'everthread/x/2', 300)")
    epoch, edge = await load_epoch(db), TreeEdge()
    assert (epoch.epoch, epoch.first_index, await load_size(db, epoch)) == (2, 300, 0)
    await fill(db, 900)
    await grow_edge(db, epoch, edge)
    assert edge.root() == root_of((await leaves_of(db))[300:])
    assert (await load_edge(db, epoch)).size == 512
