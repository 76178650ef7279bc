"""Roots and proofs, held to the definitions of RFC 6962 and to the laws that they are made for."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.audit.merkle import (
    EMPTY_ROOT,
    Node,
    consistency_nodes,
    consistency_proof,
    hash_entry,
    inclusion_nodes,
    inclusion_proof,
    is_consistent,
    is_included,
    root_nodes,
    tree_root,
)
from service.audit.tiles import TreeEdge, place_of
from tests.audit import rfc6962
from tests.audit.logs import MemoryLog, numbered_log

LOG = numbered_log(600)  # two full tiles, a partial one, and a partial tile at level 1


def root(size: int, log: MemoryLog = LOG) -> bytes:
    return tree_root(size, log.read)


@pytest.mark.parametrize("size", [*range(67), 127, 128, 129, 255, 256, 257, 511, 512, 513, 600])
def test_a_root_is_that_of_rfc_6962(size: int) -> None:
    assert root(size) == rfc6962.tree_hash(LOG.entries[:size])


def test_the_empty_tree_has_the_hash_of_nothing() -> None:
    assert root(0) == TreeEdge().root() == EMPTY_ROOT


@pytest.mark.parametrize("size", [*range(1, 34), 256, 257, 513])
def test_proofs_are_those_of_rfc_6962(size: int) -> None:
    for index in {*range(min(size, 34)), size // 2, size - 1}:
        assert inclusion_proof(index, size, LOG.read) == rfc6962.audit_path(index, LOG.entries[:size])
        assert consistency_proof(index, size, LOG.read) == rfc6962.consistency(index, LOG.entries[:size])


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_proof_of_every_size_verifies(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, LOG.size))
    index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, size))
    leaf, proof = hash_entry(LOG.entries[index]), inclusion_proof(index, size, LOG.read)
    assert is_included(leaf, index, size=size, root=root(size), proof=proof)
    steps = consistency_proof(old, size, LOG.read)
    assert is_consistent(old, size, old_root=root(old), new_root=root(size), proof=steps)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_proof_of_inclusion_with_a_changed_bit_does_not_verify(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, LOG.size))
    index = data.draw(st.integers(0, size - 1))
    leaf, top = hash_entry(LOG.entries[index]), root(size)
    parts = [leaf, top, *inclusion_proof(index, size, LOG.read)]
    changed = data.draw(st.integers(0, len(parts) - 1))
    parts[changed] = _flip(parts[changed], data.draw(st.integers(0, 255)))
    assert not is_included(parts[0], index, size=size, root=parts[1], proof=parts[2:])


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_proof_of_consistency_with_a_changed_bit_does_not_verify(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, LOG.size))
    old = data.draw(st.integers(0, size))
    parts = [root(old), root(size), *consistency_proof(old, size, LOG.read)]
    # A tree of any root begins with the empty tree.
    changed = data.draw(st.integers(0, len(parts) - 1).filter(lambda number: number != 1 or old > 0))
    parts[changed] = _flip(parts[changed], data.draw(st.integers(0, 255)))
    assert not is_consistent(old, size, old_root=parts[0], new_root=parts[1], proof=parts[2:])


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_proof_holds_for_its_place_alone(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, 70))
    index, other = data.draw(st.permutations(range(size)))[:2]
    proof, leaf = inclusion_proof(index, size, LOG.read), hash_entry(LOG.entries[index])
    assert not is_included(leaf, other, size=size, root=root(size), proof=proof)
    assert not is_included(leaf, index, size=size, root=root(size), proof=[*proof, bytes(32)])
    assert not is_included(leaf, index, size=size, root=root(size), proof=proof[:-1])
    steps = consistency_proof(index, size, LOG.read)
    assert not is_consistent(index, size, old_root=root(index), new_root=root(size), proof=[*steps, bytes(32)])
    if steps:
        assert not is_consistent(index, size, old_root=root(index), new_root=root(size), proof=steps[:-1])


def test_a_place_outside_of_the_tree_is_refused() -> None:
    for index, size in ((-1, 5), (5, 5), (0, 0)):
        with pytest.raises(ValueError, match="has no leaf"):
            inclusion_proof(index, size, LOG.read)
        assert not is_included(bytes(32), index, size=size, root=bytes(32), proof=[])
    for old, new in ((-1, 5), (6, 5)):
        with pytest.raises(ValueError, match="does not begin with"):
            consistency_proof(old, new, LOG.read)
        assert not is_consistent(old, new, old_root=bytes(32), new_root=bytes(32), proof=[])


def test_the_empty_tree_has_no_other_root() -> None:
    assert not is_consistent(0, 3, old_root=bytes(32), new_root=root(3), proof=[])
    assert not is_consistent(0, 0, old_root=bytes(32), new_root=bytes(32), proof=[])
    assert not is_consistent(0, 3, old_root=EMPTY_ROOT, new_root=root(3), proof=[bytes(32)])


@pytest.mark.parametrize("size", [10_000_000, 9_999_999, 2**40 - 1])
def test_a_proof_in_a_large_log_reads_few_tiles(size: int) -> None:
    def tiles(nodes: list[Node]) -> int:
        return len({place_of(node) for node in nodes})

    levels = (size.bit_length() + 7) // 8
    for index in (0, size // 3, size - 1):
        assert tiles(inclusion_nodes(index, size)) <= 2 * levels
        assert tiles(consistency_nodes(index, size)) <= 2 * levels
    assert tiles(root_nodes(size)) <= levels


def _flip(data: bytes, bit: int) -> bytes:
    return (int.from_bytes(data) ^ 1 << bit).to_bytes(len(data))
