"""Proofs about the log in the database: that an event is in it, and that it has only grown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from events.leaves import SALT_BYTES
from service.audit.checkpoint import Checkpoint
from service.audit.log_tree import (
    LogEpoch,
    LogFault,
    check_entry,
    find_leaf,
    load_content,
    load_entries,
    load_epoch,
    load_hashes,
    load_kept,
    load_latest,
)
from service.audit.merkle import (
    Node,
    consistency_nodes,
    consistency_proof,
    inclusion_nodes,
    inclusion_proof,
    root_nodes,
    tree_root,
)
from service.audit.notes import FormatError, Note
from service.audit.proof_file import Evidence, InclusionProof
from sql.connection import Connection


class NoProof(Exception):
    """There is no such proof, or not yet. The message says why."""


@dataclass(frozen=True, slots=True)
class GrowthProof:
    """The proof that the log in a checkpoint begins with the log of `old_size` events."""

    old_size: int
    hashes: Sequence[bytes]
    note: Note


async def prove_event(db: Connection, stream_id: str, version: int, *, has_content: bool) -> InclusionProof:
    """Returns the proof that the newest checkpoint covers an event, with its content if that is wanted.

    Raises NoProof if it does not, and LogFault if the event was changed.
    """
    epoch, note = await load_epoch(db), await _newest(db)
    size = Checkpoint.parse(note.text).size
    index = await find_leaf(db, epoch, stream_id, version)
    if index is None or index >= size:
        raise NoProof(f"no checkpoint covers version {version} of {stream_id}; a new event takes about a second")
    (entry,) = await load_entries(db, epoch, index, index + 1)
    hashes = await load_hashes(db, epoch, [Node(0, index), *inclusion_nodes(index, size), *root_nodes(size)], size)
    check_entry(entry, hashes(Node(0, index)))
    _check_root(note, tree_root(size, hashes))
    evidence = Evidence(entry)
    if has_content:
        content = await load_content(db, stream_id, version)
        evidence = Evidence(entry, content[:SALT_BYTES], content[SALT_BYTES:])
    return InclusionProof(index, inclusion_proof(index, size, hashes), note, bytes(evidence))


async def prove_growth(db: Connection, old_size: int, new: Note | int | None) -> GrowthProof:
    """Returns the proof that the log of a checkpoint begins with the log of `old_size` events.

    `new` is the checkpoint, the size of one that is kept, or None for the newest. Raises NoProof if there is none or if
    it is smaller, and LogFault if the log is not the one of the checkpoint.
    """
    epoch = await load_epoch(db)
    note = new if isinstance(new, Note) else await _newest(db) if new is None else await _load_kept(db, epoch, new)
    checkpoint = Checkpoint.parse(note.text)
    size = checkpoint.size
    if checkpoint.origin != epoch.origin:
        raise NoProof(f"the checkpoint is of the log {checkpoint.origin}, and this one is {epoch.origin}")
    if old_size > size:
        raise NoProof(f"the newer checkpoint has {size} events, and the older one {old_size}")
    hashes = await load_hashes(db, epoch, [*consistency_nodes(old_size, size), *root_nodes(size)], size)
    _check_root(note, tree_root(size, hashes))
    return GrowthProof(old_size, consistency_proof(old_size, size, hashes), note)


async def _newest(db: Connection) -> Note:
    latest = await load_latest(db)
    if latest.note is None:
        raise NoProof("no checkpoint was signed yet: a server signs them")
    try:
        return Note.parse(latest.note)
    except FormatError as error:
        raise LogFault(f"the newest checkpoint cannot be read: {error}") from None


async def _load_kept(db: Connection, epoch: LogEpoch, size: int) -> Note:
    text = await load_kept(db, epoch, size)
    if text is None:
        raise NoProof(f"no checkpoint of {size} events is kept")
    return Note.parse(text)


def _check_root(note: Note, root: bytes) -> None:
    checkpoint = Checkpoint.parse(note.text)
    if checkpoint.root != root:
        raise LogFault(f"the log does not have the {checkpoint.size} events of the checkpoint: its history was changed")
