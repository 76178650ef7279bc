"""Our roots, proofs, tiles and notes against independent implementations, and theirs against ours.

aics-tlog implements C2SP's formats; `scripts/setup.sh` puts it into .venvs. pymerkle implements the trees of RFC 6962,
with a format of proofs of its own.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pymerkle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.audit.checkpoint import Checkpoint, open_checkpoint
from service.audit.merkle import (
    consistency_proof,
    hash_entry,
    inclusion_proof,
    is_consistent,
    is_included,
    tree_root,
)
from service.audit.notes import Note, SignatureType, VerifierKey
from service.audit.tiles import TileHashes, TilePlace, TileResource, decode_bundle, encode_bundle, parse_path
from tests.audit.logs import LOG_KEY, ORIGIN, SECRET, MemoryLog, numbered_log, sign_note
from tests.audit.test_notes import WITNESS, WITNESS_KEY, cosign

AICS = Path(__file__).parents[2] / ".venvs" / "aics-tlog"
LOG = numbered_log(600)


@pytest.fixture(scope="module")
def aics() -> Iterator[ModuleType]:
    if not AICS.is_dir() and not os.environ.get("CI"):
        pytest.skip("scripts/test sets up aics-tlog")
    sys.path.append(str(AICS))
    import aics_tlog

    yield aics_tlog
    sys.path.remove(str(AICS))


def resources(log: MemoryLog) -> dict[str, bytes]:
    """All tiles and entry bundles of a log, by their paths."""
    found = {}
    for place, data in log.tiles.items():
        found[TileResource(place.level, place.number, len(data) // 32).path] = data
    for begin in range(0, log.size, 256):
        entries = log.entries[begin : begin + 256]
        found[TileResource(None, begin // 256, len(entries)).path] = encode_bundle(entries)
    return found


def test_aics_reads_our_tiles(aics: ModuleType) -> None:
    reader = aics.MemoryTileReader(resources(LOG))
    root = tree_root(LOG.size, LOG.read)
    aics.audit_tiles(reader, LOG.size, root)
    for size in (1, 255, 256, 257, 512, 600):
        assert aics.tree_root_from_tiles(reader, size, LOG.size) == tree_root(size, LOG.read)
        for index in {0, size // 3, size - 1}:
            ours = inclusion_proof(index, size, LOG.read)
            assert aics.inclusion_proof_from_tiles(reader, index, size, LOG.size) == ours
            assert aics.read_entry(reader, index, LOG.size) == LOG.entries[index]
            theirs = aics.consistency_proof_from_tiles(reader, max(index, 1), size, LOG.size)
            assert theirs == consistency_proof(max(index, 1), size, LOG.read)


def test_we_read_the_tiles_of_aics(aics: ModuleType, tmp_path: Path) -> None:
    writer = aics.IncrementalTileWriter(aics.DirectoryTileStore(tmp_path), size=0)
    for begin, end in ((0, 3), (3, 256), (256, 590), (590, 600)):
        writer.append(LOG.entries[begin:end])
    tiles, entries = dict[TilePlace, bytes](), dict[int, list[bytes]]()
    for path in (tmp_path / "tile").rglob("*"):
        if path.is_dir():
            continue
        resource = parse_path(path.relative_to(tmp_path).as_posix())
        if resource.level is None:
            entries[resource.number] = max(entries.get(resource.number, []), decode_bundle(path.read_bytes()), key=len)
        else:
            place = TilePlace(resource.level, resource.number)
            tiles[place] = max(tiles.get(place, b""), path.read_bytes(), key=len)
    assert tiles == LOG.tiles
    assert tree_root(600, TileHashes(tiles)) == writer.root()
    assert [entry for number in sorted(entries) for entry in entries[number]] == LOG.entries


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=40), min_size=1, max_size=70), st.data())
def test_proofs_agree_with_aics(aics: ModuleType, entries: list[bytes], data: st.DataObject) -> None:
    theirs, ours = aics.MerkleTree(entries), MemoryLog(entries)
    size = data.draw(st.integers(1, len(entries)))
    index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, size))
    root, old_root = tree_root(size, ours.read), tree_root(old, ours.read)
    assert theirs.root(size) == root
    proof, steps = inclusion_proof(index, size, ours.read), consistency_proof(old, size, ours.read)
    assert theirs.inclusion_proof(index, size) == proof
    assert aics.verify_leaf_inclusion(entries[index], index, size, proof, root)
    assert aics.verify_consistency(old, size, old_root, root, steps)
    assert is_included(hash_entry(entries[index]), index, size=size, root=theirs.root(size), proof=proof)
    if old:
        steps = theirs.consistency_proof(old, size)
        assert is_consistent(old, size, old_root=theirs.root(old), new_root=theirs.root(size), proof=steps)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=40), min_size=1, max_size=70), st.data())
def test_trees_agree_with_pymerkle(entries: list[bytes], data: st.DataObject) -> None:
    theirs, ours = pymerkle.InmemoryTree(algorithm="sha256"), MemoryLog(entries)
    theirs.append_entries(entries)
    size = data.draw(st.integers(1, len(entries)))
    index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size))
    root = tree_root(size, ours.read)
    assert theirs.get_root(size) == root
    leaf = hash_entry(entries[index])
    assert theirs.get_leaf(index + 1) == leaf
    their_proof = theirs.prove_inclusion(index + 1, size)
    assert sorted(their_proof.path) == sorted([leaf, *inclusion_proof(index, size, ours.read)])
    pymerkle.verify_inclusion(leaf, root, their_proof, index=index + 1, size=size)
    old_root = tree_root(old, ours.read)
    pymerkle.verify_consistency(old_root, root, theirs.prove_consistency(old, size), prior_size=old, later_size=size)


def test_aics_verifies_our_checkpoints_and_cosignatures(aics: ModuleType) -> None:
    note = LOG.checkpoint()
    cosigned = Note(note.text, (*note.signatures, cosign(note, 1_679_315_147)))
    keys = aics.parse_vkey(str(LOG_KEY)), [aics.parse_vkey(str(WITNESS_KEY))]
    result = aics.verify_checkpoint(aics.parse_note(str(cosigned)), keys[0], keys[1], quorum=1)
    assert result.ok, result
    checkpoint = aics.parse_checkpoint(note.text)
    assert (checkpoint.origin, checkpoint.size, checkpoint.root) == (ORIGIN, 600, tree_root(600, LOG.read))
    changed = sign_note(note.text.replace("600", "601"))
    forged = Note(changed.text, note.signatures)
    assert not aics.verify_checkpoint(aics.parse_note(str(forged)), keys[0]).ok


def test_we_verify_the_checkpoints_and_cosignatures_of_aics(aics: ModuleType) -> None:
    tree = aics.MerkleTree(LOG.entries[:70])
    signed = aics.sign_checkpoint(aics.Checkpoint(ORIGIN, 70, tree.root()), SECRET, ORIGIN)
    _, cosignature = aics.sign_cosignature(WITNESS, WITNESS_KEY.name, 1_767_000_000, ORIGIN, 70, tree.root())
    both = aics.Note(text=signed.text, signatures=(*signed.signatures, cosignature))
    note = Note.parse(both.serialise())
    assert open_checkpoint(note, LOG_KEY) == Checkpoint(ORIGIN, 70, tree_root(70, LOG.read))
    assert set(note.verify([LOG_KEY, WITNESS_KEY])) == {LOG_KEY, WITNESS_KEY}
    for key, secret, kind in ((LOG_KEY, SECRET, SignatureType.LOG), (WITNESS_KEY, WITNESS, SignatureType.COSIGNATURE)):
        make = aics.vkey_from_ed25519 if kind is SignatureType.LOG else aics.cosignature_vkey
        vkey = make(key.name, secret.public_key())
        assert VerifierKey.parse(vkey if isinstance(vkey, str) else aics.format_vkey(vkey)) == key
