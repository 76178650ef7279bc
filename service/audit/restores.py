"""Finds out at the start whether the database went back to an older state, and begins a new epoch after a restore.

The log must extend the newest checkpoint beside the signing key, which a restore of the database does not touch. If it
does not, events that were signed are missing or changed, and the server does not start by itself: the operator says
why. The new epoch has a tree, an origin and indexes of its own. Its first leaf is the event with the old origin, the
newest checkpoint of it and the reason, so the gap stays visible for good.
"""

from __future__ import annotations

from dataclasses import dataclass

import asyncpg
import structlog

from events import codec
from events.envelope import Origin
from events.installation import INSTALLATION_ID, BeginEpoch, EpochBegun, KeptLog
from events.leaves import content_json
from service.audit.acts import write_installation
from service.audit.checkpoint import Checkpoint
from service.audit.kept_checkpoints import CheckpointFolder
from service.audit.log_tree import (
    LogEpoch,
    LogFault,
    grow_edge,
    load_edge,
    load_epoch,
    load_hashes,
    load_latest,
    load_size,
    load_sizes,
)
from service.audit.merkle import root_nodes, tree_root
from service.audit.notes import FormatError, Note, encode_base64
from service.audit.sequencer import begin_epoch
from service.errors import StartupError
from service.writer import Writer
from sql import queries
from sql.connection import Connection

log = structlog.get_logger()

# The indexes from (n - 1) * EPOCH_INDEXES on are those of the epoch n. So no index is given to two events, however many
# events a restore removed. 9,007 epochs have indexes that are exact as numbers of JSON.
EPOCH_INDEXES = 10**12
_SQL = queries("log_tree")


@dataclass(frozen=True, slots=True)
class _Origin:
    """An origin `everthread/<installation>/<epoch>`, in parts."""

    installation: str
    epoch: int

    @classmethod
    def parse(cls, text: str) -> _Origin | None:
        parts = text.split("/")
        if len(parts) != 3 or parts[0] != "everthread" or not (parts[2].isascii() and parts[2].isdigit()):
            return None
        return cls(parts[1], int(parts[2]))


async def check_history(writer: Writer, folder: CheckpointFolder, origin: Origin, *, reason: str | None) -> None:
    """Begins a new epoch if `reason` is given.

    A reason that is left in the command of the next start begins no other one, if the log extends the folder's newest
    checkpoint.

    Raises StartupError if it does not extend it and no reason is given, or if the checkpoint cannot be read.
    """
    newest = _newest(folder, has_reason=reason is not None)
    if newest is None and reason is None:
        return
    async with writer.pool.acquire() as db:
        epoch = await load_epoch(db)
        fault = None if newest is None else await _find_fault(db, epoch, Checkpoint.parse(newest.text))
        if reason is None and fault is None:
            return
        if reason is None:
            raise StartupError(
                f"{fault}. The database was restored from an older backup, or its history was changed. Compare it"
                f" with {folder.latest_path}, and if you restored it, start once with --restored and the reason."
            )
        if fault is None and newest is not None and await _is_reason_of(db, epoch, reason):
            log.info("restore_not_needed", origin=epoch.origin)
            return
        known = newest or await _newest_in_database(db)
        await _begin(writer, db, epoch, origin, known, reason)


def _newest(folder: CheckpointFolder, *, has_reason: bool) -> Note | None:
    """Returns the newest checkpoint of the folder, None if there is none.

    Raises StartupError if it cannot be read and the operator gives no reason for that.
    """
    try:
        text = folder.read_latest()
        if text is None:
            return None
        note = Note.parse(text)
        Checkpoint.parse(note.text)
    except (OSError, FormatError) as error:
        if has_reason:
            return None
        raise StartupError(
            f"The newest checkpoint {folder.latest_path} cannot be read: {error}. Put a copy of it there, or start once"
            " with --restored and the reason."
        ) from None
    return note


async def _find_fault(db: Connection, epoch: LogEpoch, signed: Checkpoint) -> str | None:
    """Returns a sentence that says why the log does not extend the checkpoint; None if it does."""
    own, other = _Origin.parse(epoch.origin), _Origin.parse(signed.origin)
    if own is None or other is None or own.installation != other.installation:
        log.warning("checkpoint_of_another_installation", origin=signed.origin)
        return None
    if other.epoch < own.epoch:
        return await _find_false_epoch(db, epoch, own, signed)
    if other.epoch > own.epoch:
        return f"The log is of epoch {own.epoch}, and epoch {other.epoch} has begun"
    size = await load_size(db, epoch)
    if size < signed.size:
        return f"The log has {size} events, and a checkpoint of {signed.size} events was signed"
    try:
        hashes = await load_hashes(db, epoch, root_nodes(signed.size), signed.size)
    except LogFault as fault:
        return f"The log is damaged: {fault}"
    if tree_root(signed.size, hashes) != signed.root:
        return f"The first {signed.size} events of the log are not those of the checkpoint that was signed"
    return None


async def _find_false_epoch(db: Connection, epoch: LogEpoch, own: _Origin, signed: Checkpoint) -> str | None:
    """Returns a sentence that says why the log's epoch was not begun after the checkpoint; None if it was."""
    begun = await _load_begun(db, epoch)
    if begun is None or begun.number != own.epoch:
        return f"Epoch {own.epoch} of the log does not begin with its event"
    try:
        named = Checkpoint.parse(Note.parse(begun.previous_checkpoint or "").text)
    except FormatError:
        named = None
    if named is None or (named.origin == signed.origin and named.size < signed.size):
        return f"Epoch {own.epoch} of the log does not name the checkpoint of {signed.size} events that was signed"
    return None


async def _load_begun(db: Connection, epoch: LogEpoch) -> EpochBegun | None:
    """Returns the event that is the first leaf of the epoch; None if that is another one."""
    row = await db.fetchrow(_SQL["event_at"], epoch.first_index)
    event = None if row is None else codec.load(content_json(row["content"]), row["schema_version"])
    return event if isinstance(event, EpochBegun) else None


async def _is_reason_of(db: Connection, epoch: LogEpoch, reason: str) -> bool:
    """Says if the epoch was begun for this reason."""
    begun = await _load_begun(db, epoch)
    return begun is not None and begun.reason == reason


async def _newest_in_database(db: Connection) -> Note | None:
    note = (await load_latest(db)).note
    return None if note is None else Note.parse(note)


async def _begin(
    writer: Writer, db: Connection, epoch: LogEpoch, origin: Origin, known: Note | None, reason: str
) -> None:
    """Appends the event that begins an epoch, and begins its tree with it. `known` is the newest checkpoint.

    The event comes before all others that wait for an index: the old log may have had other events at the indexes that
    are next in the old epoch.
    """
    previous = Checkpoint.parse(known.text).origin if known is not None else epoch.origin
    parts = [part for part in map(_Origin.parse, (epoch.origin, previous)) if part is not None]
    number = max(part.epoch for part in parts) + 1
    await _keep_latest(db)
    command = BeginEpoch(
        number=number,
        previous_origin=previous,
        previous_checkpoint="" if known is None else str(known),
        reason=reason,
        kept=await _kept_log(db, epoch),
    )
    await write_installation(writer, origin, command)
    version: int = await db.fetchval(_SQL["newest_begun"], INSTALLATION_ID)
    begun = LogEpoch(number, f"everthread/{parts[0].installation}/{number}", await _first_index(db, number))
    try:
        is_begun = await begin_epoch(db, begun, INSTALLATION_ID, version)
    except asyncpg.UniqueViolationError:
        is_begun = False
    if not is_begun:
        raise StartupError("Another server works on this database. Stop all servers, and start one with --restored.")
    log.warning("epoch_begun", epoch=number, first_index=begun.first_index, previous=previous, reason=reason)


async def _first_index(db: Connection, number: int) -> int:
    """Returns the first index of the epoch `number`: above all that the logs of earlier epochs can have had.

    It follows from the number, because a restored database does not say how far the log had grown.
    """
    end = max(sized.end for sized in await load_sizes(db))
    return max(number - 1, -(-end // EPOCH_INDEXES)) * EPOCH_INDEXES


async def _kept_log(db: Connection, epoch: LogEpoch) -> KeptLog | None:
    """Returns the part of the epoch's log that the database has; None if it is damaged."""
    try:
        edge = await load_edge(db, epoch)
        await grow_edge(db, epoch, edge)
    except LogFault as fault:
        log.warning("kept_log_damaged", origin=epoch.origin, error=str(fault))
        return None
    return KeptLog(epoch.origin, edge.size, encode_base64(edge.root()))


async def _keep_latest(db: Connection) -> None:
    """Keeps the newest checkpoint in the database: the first one of the new epoch takes its place."""
    latest = await load_latest(db)
    if latest.note is not None:
        await db.execute(_SQL["keep"], latest.epoch, latest.size, latest.at, latest.note)
