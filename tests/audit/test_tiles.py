"""Tiles, their paths, and entry bundles, as https://c2sp.org/tlog-tiles describes them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.audit.merkle import Node, hash_entry, tree_root
from service.audit.tiles import (
    FULL_WIDTH,
    MAX_ENTRY_BYTES,
    TileHashes,
    TilePlace,
    TileResource,
    TreeEdge,
    decode_bundle,
    edge_places,
    encode_bundle,
    parse_path,
    split_hashes,
    tile_width,
)
from tests.audit import rfc6962
from tests.audit.logs import numbered_log


@pytest.mark.parametrize(
    ("resource", "path"),
    [
        (TileResource(0, 1_234_067), "tile/0/x001/x234/067"),  # the index of the specification
        (TileResource(0, 0), "tile/0/000"),
        (TileResource(63, 999, 1), "tile/63/999.p/1"),
        (TileResource(1, 1_000, 255), "tile/1/x001/000.p/255"),
        (TileResource(None, 273, 112), "tile/entries/273.p/112"),
    ],
)
def test_a_path_names_a_tile(resource: TileResource, path: str) -> None:
    assert resource.path == path
    assert parse_path(path) == resource


@pytest.mark.parametrize(
    "path",
    [
        "tile/00/000",
        "tile/64/000",
        "tile/0/0",
        "tile/0/x000/001",
        "tile/0/001/002",
        "tile/0/x001",
        "tile/0/000.p/0",
        "tile/0/000.p/01",
        "tile/0/000.p/256",
        "tile/0/000.p/",
        "tile/0/000/",
        "/tile/0/000",
        "tile/-1/000",
        "tile/0/000\n",
        "tile/0/٠٠١",
        "tile/entry/000",
        "tile/../000",
    ],
)
def test_another_path_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="not a path of a tile"):
        parse_path(path)


def test_a_tree_of_70000_leaves_has_the_tiles_of_the_specification() -> None:
    assert [(place.level, place.number, tile_width(place, 70_000)) for place in edge_places(70_000)] == [
        (0, 273, 112),
        (1, 1, 17),
        (2, 0, 1),
    ]
    assert edge_places(256) == [TilePlace(1, 0)]
    assert tile_width(TilePlace(0, 272), 70_000) == FULL_WIDTH
    assert tile_width(TilePlace(0, 274), 70_000) == 0
    assert TileResource(1, 1, 17).end == (256 + 17) * 256


@pytest.mark.slow
def test_the_tiles_of_a_large_tree_hold_the_roots_below_them() -> None:
    log = numbered_log(66_000)
    assert {place.level for place in log.tiles} == {0, 1, 2}
    assert len(log.tiles) == 258 + 2 + 1
    level_1 = split_hashes(log.tiles[TilePlace(1, 0)])
    assert level_1[7] == rfc6962.tree_hash(log.entries[7 * 256 : 8 * 256])
    assert log.tiles[TilePlace(2, 0)] == rfc6962.tree_hash(log.entries[: 256 * 256])
    assert log.edge.root() == tree_root(66_000, log.read) == rfc6962.tree_hash(log.entries)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 300), max_size=8))
def test_a_tree_grows_the_same_in_any_steps_and_after_a_restart(steps: list[int]) -> None:
    edge, size = TreeEdge(), 0
    tiles: dict[TilePlace, bytes] = {}
    log = numbered_log(sum(steps))
    leaves = [hash_entry(entry) for entry in log.entries]
    for step in steps:
        tiles |= edge.append(leaves[size : size + step])
        size += step
        tiles |= edge.partial_tiles()
        assert edge.root() == tree_root(size, log.read) == tree_root(size, TileHashes(tiles))
        edge = TreeEdge(size, tiles)
    assert tiles == log.tiles


def test_an_edge_needs_its_tiles() -> None:
    log = numbered_log(300)
    with pytest.raises(ValueError, match="fewer than 45 hashes"):
        TreeEdge(301, log.tiles)
    with pytest.raises(LookupError):
        TreeEdge(300, {})
    with pytest.raises(LookupError):
        log.read(Node(0, 600))
    with pytest.raises(ValueError, match="lacks hashes"):
        log.read(Node(0, 300))


@given(st.lists(st.binary(max_size=400), max_size=20))
def test_a_bundle_holds_its_entries(entries: list[bytes]) -> None:
    assert decode_bundle(encode_bundle(entries)) == entries


def test_a_bundle_is_checked() -> None:
    assert encode_bundle([b"ab", b""]) == b"\x00\x02ab\x00\x00"
    assert len(encode_bundle([bytes(MAX_ENTRY_BYTES)])) == MAX_ENTRY_BYTES + 2
    with pytest.raises(ValueError, match="a bundle allows 65535"):
        encode_bundle([bytes(MAX_ENTRY_BYTES + 1)])
    for bundle in (b"\x00", b"\x00\x02a"):
        with pytest.raises(ValueError, match="the bundle ends within"):
            decode_bundle(bundle)
    with pytest.raises(ValueError, match="no multiple of 32"):
        split_hashes(bytes(33))
