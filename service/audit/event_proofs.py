"""Proofs about the log in the database: that an event is in it, and that it has only grown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from events.leaves import SALT_BYTES
from service.audit.attestations import PROVEN_AMONG, add_signatures, load_cosignatures, load_cosigned
from service.audit.checkpoint import Checkpoint
from service.audit.log_tree import (
    LogEpoch,
    LogFault,
    check_entry,
    find_epoch,
    load_content,
    load_entries,
    load_epochs,
    load_hashes,
    load_index,
    load_kept,
    load_last_signed,
    load_size,
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
    """Returns the proof that a checkpoint of the event's epoch covers it, with its content if that is wanted.

    The checkpoint is one with cosignatures of witnesses if there is one that covers the event, else the newest.
    Raises NoProof if it does not, and LogFault if the event was changed.
    """
    number = await load_index(db, stream_id, version)
    epoch = None if number is None else find_epoch(await load_epochs(db), number)
    if number is None or epoch is None:
        raise NoProof(f"no checkpoint covers version {version} of {stream_id}; a new event takes about a second")
    index = number - epoch.first_index
    note = await _newest(db, epoch, min_size=index + 1)
    size = Checkpoint.parse(note.text).size
    if index >= size:
        late = "a new event takes about a second"
        reason = late if epoch.next_index is None else f"a restore ended epoch {epoch.epoch} before one was signed"
        raise NoProof(f"no checkpoint covers version {version} of {stream_id}; {reason}")
    (entry,) = await load_entries(db, epoch, index, index + 1)
    hashes = await load_hashes(db, epoch, [Node(0, index), *inclusion_nodes(index, size), *root_nodes(size)], size)
    check_entry(entry, hashes(Node(0, index)))
    _check_root(note, tree_root(size, hashes))
    evidence = Evidence(entry)
    if has_content:
        content = await load_content(db, stream_id, version)
        evidence = Evidence(entry, content[:SALT_BYTES], content[SALT_BYTES:])
    return InclusionProof(index, inclusion_proof(index, size, hashes), note, bytes(evidence))


async def prove_growth(db: Connection, old: Note | int, new: Note | int | None) -> GrowthProof:
    """Returns the proof that the log of the checkpoint `new` begins with the log of `old`.

    Both are checkpoints or the sizes of kept ones, of one epoch: that of a checkpoint that is given, else the newest.
    `new` is None for the epoch's newest one. Raises NoProof if there is none or if it is smaller, and LogFault if the
    log is not the one of the checkpoint.
    """
    epoch = await _epoch_of(db, [item for item in (old, new) if isinstance(item, Note)])
    old_size = old if isinstance(old, int) else Checkpoint.parse(old.text).size
    if isinstance(new, Note):
        note = new
    else:
        note = await _newest(db, epoch, min_size=old_size) if new is None else await _load_kept(db, epoch, new)
    size = Checkpoint.parse(note.text).size
    if old_size > size:
        raise NoProof(f"the newer checkpoint has {size} events, and the older one {old_size}")
    available = await load_size(db, epoch)
    if size > available and epoch.next_index is not None:
        raise NoProof(f"a restore removed events of epoch {epoch.epoch}: {available} of {size} are left")
    hashes = await load_hashes(db, epoch, [*consistency_nodes(old_size, size), *root_nodes(size)], size)
    _check_root(note, tree_root(size, hashes))
    return GrowthProof(old_size, consistency_proof(old_size, size, hashes), note)


async def _epoch_of(db: Connection, notes: Sequence[Note]) -> LogEpoch:
    """Returns the epoch of the checkpoints, the newest one if there are none. Raises NoProof if it is not one epoch."""
    epochs = await load_epochs(db)
    origins = {Checkpoint.parse(note.text).origin for note in notes} or {epochs[-1].origin}
    if len(origins) > 1:
        raise NoProof(f"the checkpoints are of different logs: {' and '.join(sorted(origins))}")
    found = [epoch for epoch in epochs if epoch.origin in origins]
    if not found:
        raise NoProof(f"the checkpoint is of the log {min(origins)}, and this one is {epochs[-1].origin}")
    return found[0]


async def _newest(db: Connection, epoch: LogEpoch, *, min_size: int) -> Note:
    """Returns the checkpoint with the most cosignatures of those with `min_size` events or more, else the newest."""
    signed = await load_last_signed(db, epoch)
    if signed is None or signed.note is None:
        raise NoProof(f"no checkpoint of epoch {epoch.epoch} was signed yet: a server signs them")
    cosigned = await load_cosigned(db, signed, min_size=min_size, among=PROVEN_AMONG)
    try:
        return cosigned or Note.parse(signed.note)
    except FormatError as error:
        raise LogFault(f"the newest checkpoint cannot be read: {error}") from None


async def _load_kept(db: Connection, epoch: LogEpoch, size: int) -> Note:
    text = await load_kept(db, epoch, size)
    if text is None:
        raise NoProof(f"no checkpoint of {size} events is kept")
    return add_signatures(Note.parse(text), await load_cosignatures(db, epoch.epoch, size))


def _check_root(note: Note, root: bytes) -> None:
    checkpoint = Checkpoint.parse(note.text)
    if checkpoint.root != root:
        raise LogFault(f"the log does not have the {checkpoint.size} events of the checkpoint: its history was changed")
