"""Merkle trees of RFC 6962: roots, inclusion proofs and consistency proofs, and their verification.

The functions that make a root or a proof ask a reader for the hashes of complete subtrees. They ask for few: about two
for each level of the tree. So a proof in a log of ten million leaves reads a few dozen tiles (`tiles.py`).
`root_nodes`, `inclusion_nodes` and `consistency_nodes` list these subtrees beforehand, so that they can be loaded.

Everything here is pure. Hashes are SHA-256, 32 bytes. Sizes are numbers of leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from typing import NamedTuple

HASH_BYTES = 32
EMPTY_ROOT = sha256(b"").digest()
# A copy of a hash that has begun takes half the time of a new one, for which OpenSSL looks up the algorithm.
_NODE_HASH = sha256(b"\x01")


class Node(NamedTuple):
    """A complete subtree: the leaves from `number * 2**level` to `(number + 1) * 2**level`, without the last."""

    level: int
    number: int


class LeafRange(NamedTuple):
    """The leaves from `begin` to `end`, without the last. Such a range is never empty."""

    begin: int
    end: int


HashReader = Callable[[Node], bytes]


def hash_entry(entry: bytes) -> bytes:
    """Returns the hash of a leaf (RFC 6962, section 2.1)."""
    return sha256(b"\x00" + entry).digest()


def hash_children(left: bytes, right: bytes) -> bytes:
    """Returns the hash of an inner node (RFC 6962, section 2.1)."""
    hashed = _NODE_HASH.copy()
    hashed.update(left + right)
    return hashed.digest()


def complete_subtrees(leaves: LeafRange) -> list[Node]:
    """Returns the largest complete subtrees that make up a subtree of RFC 6962, from left to right."""
    nodes, begin = [], leaves.begin
    while begin < leaves.end:
        level = (leaves.end - begin).bit_length() - 1
        nodes.append(Node(level, begin >> level))
        begin += 1 << level
    return nodes


def hash_peaks(peaks: Sequence[bytes]) -> bytes:
    """Returns the root over complete subtrees of falling size, given their hashes from left to right."""
    if not peaks:
        return EMPTY_ROOT
    root = peaks[-1]
    for peak in reversed(peaks[:-1]):
        root = hash_children(peak, root)
    return root


def tree_root(size: int, read: HashReader) -> bytes:
    """Returns the root of the tree of the first `size` leaves."""
    return hash_peaks([read(node) for node in root_nodes(size)])


def inclusion_proof(index: int, size: int, read: HashReader) -> list[bytes]:
    """Returns the proof that the tree of `size` leaves has the leaf at `index` (RFC 6962, section 2.1.1).

    The first hash is that of the leaf's sibling. Raises ValueError if the tree has no such leaf.
    """
    return [_hash_range(leaves, read) for leaves in _inclusion_ranges(index, size)]


def consistency_proof(old: int, new: int, read: HashReader) -> list[bytes]:
    """Returns the proof that the tree of `new` leaves begins with the tree of `old` leaves (RFC 6962, section 2.1.2).

    It is empty if the sizes are equal or if `old` is 0. Raises ValueError if `old` is larger than `new`.
    """
    return [_hash_range(leaves, read) for leaves in _consistency_ranges(old, new)]


def root_nodes(size: int) -> list[Node]:
    """Returns the subtrees that `tree_root` reads."""
    return complete_subtrees(LeafRange(0, size))


def inclusion_nodes(index: int, size: int) -> list[Node]:
    """Returns the subtrees that `inclusion_proof` reads."""
    return _nodes_of(_inclusion_ranges(index, size))


def consistency_nodes(old: int, new: int) -> list[Node]:
    """Returns the subtrees that `consistency_proof` reads."""
    return _nodes_of(_consistency_ranges(old, new))


def is_included(leaf: bytes, index: int, *, size: int, root: bytes, proof: Sequence[bytes]) -> bool:
    """Says if the proof shows that the tree has the leaf hash at `index` (RFC 9162, section 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    position, last, result = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if position & 1 or position == last:
            result = hash_children(sibling, result)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            result = hash_children(result, sibling)
        position, last = position >> 1, last >> 1
    return last == 0 and result == root


def is_consistent(old: int, new: int, *, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Says if the proof shows that the new tree begins with the old one (RFC 9162, section 2.1.4.2).

    Every tree begins with the empty tree, whose root is that of no leaves.
    """
    if not 0 <= old <= new:
        return False
    if old == new:
        return not proof and old_root == new_root and (old > 0 or old_root == EMPTY_ROOT)
    if old == 0:
        return not proof and old_root == EMPTY_ROOT
    path = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    if not path:
        return False
    position, last = old - 1, new - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    old_result = new_result = path[0]
    for node in path[1:]:
        if last == 0:
            return False
        if position & 1 or position == last:
            old_result, new_result = hash_children(node, old_result), hash_children(node, new_result)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            new_result = hash_children(new_result, node)
        position, last = position >> 1, last >> 1
    return last == 0 and old_result == old_root and new_result == new_root


def _hash_range(leaves: LeafRange, read: HashReader) -> bytes:
    return hash_peaks([read(node) for node in complete_subtrees(leaves)])


def _nodes_of(ranges: Iterable[LeafRange]) -> list[Node]:
    return [node for leaves in ranges for node in complete_subtrees(leaves)]


def _split(begin: int, end: int) -> int:
    """Returns the leaf at which a tree of two leaves or more divides: the left part is the largest complete one."""
    return begin + (1 << (end - begin - 1).bit_length() - 1)


def _inclusion_ranges(index: int, size: int) -> list[LeafRange]:
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} leaves has no leaf {index}")
    ranges, begin, end = [], 0, size
    while end - begin > 1:
        middle = _split(begin, end)
        if index < middle:
            ranges.append(LeafRange(middle, end))
            end = middle
        else:
            ranges.append(LeafRange(begin, middle))
            begin = middle
    return ranges[::-1]


def _consistency_ranges(old: int, new: int) -> list[LeafRange]:
    if not 0 <= old <= new:
        raise ValueError(f"a tree of {new} leaves does not begin with one of {old}")
    if old in (0, new):
        return []
    ranges, begin, end = [], 0, new
    while end != old:
        middle = _split(begin, end)
        if old <= middle:
            ranges.append(LeafRange(middle, end))
            end = middle
        else:
            ranges.append(LeafRange(begin, middle))
            begin = middle
    # The verifier knows the root of the old tree. It needs the old tree's last subtree only if that is a part of it.
    if begin > 0:
        ranges.append(LeafRange(begin, end))
    return ranges[::-1]
