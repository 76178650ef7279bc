"""Checks the log: its ranges have no gaps, and their tree has the stored tiles and the roots of all checkpoints.

The checkpoints in the database say little against its administrator, unless the log's public key is known. Those beside
the signing key, and those kept elsewhere, say that the log was not rewritten since.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from events import codec
from events.installation import EpochBegun
from events.leaves import content_json
from service.audit.checkpoint import Checkpoint
from service.audit.faults import Fault
from service.audit.log_tree import LogEpoch, load_epochs
from service.audit.merkle import HASH_BYTES
from service.audit.notes import FormatError, Note, SignatureError, VerifierKey, decode_base64
from service.audit.tiles import FULL_WIDTH, TilePlace, TreeEdge, hash_complete, split_hashes
from sql import queries
from sql.connection import Connection

RANGES = 2000
# Faults that are reported of one kind; more of them say nothing new.
MAX_FAULTS = 20

_SQL = queries("verify")


@dataclass(frozen=True, slots=True)
class KnownCheckpoint:
    """A checkpoint to compare with the log, and the place that it comes from.

    The signatures of `note` are verified, if it is given and the log's keys are known.
    """

    checkpoint: Checkpoint
    source: str
    note: Note | None = None

    @classmethod
    def parse(cls, text: str, source: str) -> KnownCheckpoint:
        """Returns the checkpoint of a note's exact text. Raises FormatError."""
        note = Note.parse(text)
        return cls(Checkpoint.parse(note.text), source, note)


@dataclass(frozen=True, slots=True)
class LogResult:
    """`size` is the number of events of all epochs. `checkpoints` is the number of those that were compared.

    For the keys of `unvouched` checkpoints of these only the database vouches, and no checkpoint of a given key covers
    them. `losses` are sentences about events that acknowledged restores removed, as their epochs say. `has_epochs` is
    false if the table of epochs was emptied.
    """

    size: int
    checkpoints: int
    unvouched: int
    faults: list[Fault]
    losses: list[str]
    has_epochs: bool


async def check_log(
    db: Connection,
    known: Sequence[KnownCheckpoint],
    keys: Collection[VerifierKey],
    recorded: Collection[VerifierKey] = (),
    restores: Collection[int] = (),
) -> LogResult:
    """Checks the whole log. `known` are checkpoints from outside the database.

    If `keys` are given, one of them must have signed the newest checkpoint of the database. Each other checkpoint must
    have the signature of one of these or of a key that the log has `recorded`. `restores` are the numbers of the epochs
    that began with a restore, as the operator says: who changes the database can begin an epoch too.
    """
    latest = await db.fetchrow(_SQL["latest"])
    epochs = await load_epochs(db)
    faults, losses, size = list[Fault](), list[str](), 0
    begun = await _load_begun(db, epochs, faults)
    faults += await _check_epochs(db, epochs)
    origins = {epoch.origin for epoch in epochs}
    for item in known:
        restore = _find_restore(begun, item.checkpoint.origin)
        if item.checkpoint.origin not in origins and restore is not None:
            text = f"{item.source}: a restore ({restore.reason}) removed all of its {item.checkpoint.size} events"
            _report_loss(text, restore, restores, losses, faults)
        elif item.checkpoint.origin not in origins:
            text = f"{item.source} is of the log {item.checkpoint.origin}, which this database does not know"
            faults.append(Fault(None, None, text))
    compared, unvouched, index = 0, 0, 0
    for place, epoch in enumerate(epochs):
        end = epochs[place + 1].first_index if place + 1 < len(epochs) else None
        given = {VerifierKey(epoch.origin, key.type, key.public_key) for key in keys}
        stored, signed, unusable = await _stored_checkpoints(db, epoch, given, recorded)
        faults += unusable
        own = [item for item in known if item.checkpoint.origin == epoch.origin]
        faults += _check_signatures(own, [*given, *recorded]) if given else []
        uncovered = [item for item in stored if given and item.checkpoint.size > signed]
        unvouched += len(uncovered)
        if end is None and uncovered:
            text = "is signed by a key that only the database vouches for, and no checkpoint of the given key covers it"
            faults.append(Fault(None, None, f"{uncovered[-1].source} {text}"))
        kept = _kept_part(begun, epoch.origin)
        checkpoints = [*stored, *kept, *own]
        check = _EpochCheck(epoch, sorted(checkpoints, key=lambda item: item.checkpoint.size))
        index = await check.run(db, end)
        restore = _find_restore(begun, epoch.origin)
        for item in check.unreached:
            if restore is not None and item in known:
                left = f"{index - epoch.first_index} of its {item.checkpoint.size} events are left"
                text = f"{item.source}: a restore ({restore.reason}) removed events, {left}"
                _report_loss(text, restore, restores, losses, faults)
            else:
                check.report_unreached(item)
        faults += check.faults
        size += index - epoch.first_index
        compared += len(checkpoints)
        if end is None and given and not stored and not unusable and index > epoch.first_index:
            faults.append(Fault(None, None, "the database has no checkpoint of the log, so the given key signed none"))
    faults += _check_latest(latest, epochs, known, index)
    return LogResult(
        size=size, checkpoints=compared, unvouched=unvouched, faults=faults, losses=losses, has_epochs=bool(epochs)
    )


async def _check_epochs(db: Connection, epochs: Sequence[LogEpoch]) -> list[Fault]:
    """Returns the faults of epochs that no server can have begun, and of rows of no epoch."""
    if not epochs:
        return [Fault(None, None, "the database has no epoch of the log: log_epochs was emptied")]
    texts = []
    if (epochs[0].epoch, epochs[0].first_index) != (1, 0):
        texts.append("the first epoch of the log is not number 1 from the index 0: log_epochs was changed")
    for epoch in epochs:
        if epoch.origin != f"everthread/{epochs[0].installation}/{epoch.epoch}":
            texts.append(f"the epoch {epoch.epoch} has the origin {epoch.origin}: its row was inserted or changed")
    for row in await db.fetch(_SQL["tables_without_epoch"], MAX_FAULTS):
        texts.append(f"{row['relation']} has rows of the epoch {row['epoch']}, which never began")
    return [Fault(None, None, text) for text in texts]


def _check_latest(
    latest: Mapping[str, Any] | None, epochs: Sequence[LogEpoch], known: Sequence[KnownCheckpoint], end: int
) -> list[Fault]:
    """Checks the epoch and size of the newest checkpoint in the database. `end` is the index after the last event."""
    if latest is None or (latest["note"] is None and latest["size"] > 0):
        return [Fault(None, None, "the newest checkpoint was removed from the database")]
    if not epochs:
        return []
    number = latest["epoch"]
    if all(number != epoch.epoch for epoch in epochs):
        return [Fault(None, None, f"the newest checkpoint is of the epoch {number}, which never began")]
    if number < latest["kept_epoch"]:
        text = f"the newest checkpoint is of the epoch {number}, but the epoch {latest['kept_epoch']} has checkpoints"
        return [Fault(None, None, text)]
    if number != epochs[-1].epoch:  # the newest epoch has no checkpoint yet
        return []
    size, signed = end - epochs[-1].first_index, latest["size"]
    if signed > size:
        return [Fault(None, None, f"the newest checkpoint is of {signed} events, but the log has {size}")]
    for item in known:
        # A server writes a checkpoint to the database first, and then to any other place.
        if item.checkpoint.origin == epochs[-1].origin and signed < item.checkpoint.size <= size:
            text = f"the newest checkpoint in the database, of {signed} events, is older than {item.source}"
            return [Fault(None, None, text)]
    return []


async def _load_begun(db: Connection, epochs: Sequence[LogEpoch], faults: list[Fault]) -> list[EpochBegun]:
    """Returns the events that began the epochs after the first one. Adds a fault for each epoch without one."""
    found = []
    for row in await db.fetch(_SQL["epoch_events"]):
        event = None
        if row["content"] is not None:
            with suppress(ValueError):  # the event was changed, which the check of its stream reports
                event = codec.load(content_json(row["content"]), row["schema_version"])
        if isinstance(event, EpochBegun) and event.number == row["epoch"]:
            found.append(event)
        else:
            text = f"no event begins the epoch {row['epoch']}: its row of log_epochs was inserted or changed"
            faults.append(Fault(None, None, text))
    return found


def _find_restore(begun: Sequence[EpochBegun], origin: str) -> EpochBegun | None:
    """Returns the event of the restore that ended the epoch of this origin; None if none did."""
    return next((event for event in begun if origin in (event.previous_origin, event.kept_origin)), None)


def _report_loss(
    text: str, restore: EpochBegun, restores: Collection[int], losses: list[str], faults: list[Fault]
) -> None:
    """Adds the sentence to the losses if the operator acknowledged the restore, else to the faults."""
    if restore.number in restores:
        if len(losses) < MAX_FAULTS:
            losses.append(text)
    elif len(faults) < MAX_FAULTS:
        faults.append(
            Fault(None, None, f"{text}. If you restored the database then, say so by --restored {restore.number}")
        )


def _kept_part(begun: Sequence[EpochBegun], origin: str) -> list[KnownCheckpoint]:
    """Returns the parts of the epoch's log that later epochs say the restored database had."""
    parts = []
    for event in begun:
        if event.kept_origin == origin and event.kept_size is not None and event.kept_root is not None:
            with suppress(FormatError):
                kept = Checkpoint(origin, event.kept_size, decode_base64(event.kept_root))
                parts.append(KnownCheckpoint(kept, f"the event that began epoch {event.number}"))
    return parts


async def _stored_checkpoints(
    db: Connection, epoch: LogEpoch, given: Collection[VerifierKey], recorded: Collection[VerifierKey]
) -> tuple[list[KnownCheckpoint], int, list[Fault]]:
    """Returns the valid checkpoints by size, the size of the newest one that a given key signed, and the faults."""
    found, signed, faults = list[KnownCheckpoint](), -1, list[Fault]()
    for row in await db.fetch(_SQL["checkpoints"], epoch.epoch):
        source = f"the checkpoint of {row['size']} events in the database"
        try:
            note = Note.parse(row["note"])
            signers = note.verify([*given, *recorded]) if given else {}
            checkpoint = Checkpoint.parse(note.text)
            if (checkpoint.origin, checkpoint.size) != (epoch.origin, row["size"]):
                raise FormatError("it is of another log or size")
        except (FormatError, SignatureError) as error:
            if len(faults) < MAX_FAULTS:
                faults.append(Fault(None, None, f"{source} was changed: {error}"))
        else:
            found.append(KnownCheckpoint(checkpoint, source))
            if not signers.keys().isdisjoint(given):
                signed = max(signed, checkpoint.size)
    return found, signed, faults


def _check_signatures(known: Sequence[KnownCheckpoint], keys: Collection[VerifierKey]) -> list[Fault]:
    """Returns a fault for each checkpoint from outside the database that none of the keys signed."""
    faults = list[Fault]()
    for item in known:
        try:
            if item.note is not None:
                item.note.verify(keys)
        except SignatureError as error:
            faults.append(Fault(None, None, f"{item.source} is not valid: {error}"))
    return faults[:MAX_FAULTS]


class _EpochCheck:
    """The check of an epoch's tree. `checkpoints` are those to compare, by size."""

    def __init__(self, epoch: LogEpoch, checkpoints: Sequence[KnownCheckpoint]) -> None:
        self.faults: list[Fault] = []
        # The checkpoints that are of more events than the log has. A gap, which is reported, leaves others unreached.
        self.unreached: list[KnownCheckpoint] = []
        self._first_index = epoch.first_index
        self._epoch = epoch.epoch
        self._edge = TreeEdge()
        self._waiting = deque(checkpoints)
        self._is_whole = True
        self._last_good = 0
        # The newest ranges: index, stream and first version. They name the event of an index.
        self._recent: deque[tuple[int, str, int]] = deque(maxlen=2 * FULL_WIDTH)

    async def run(self, db: Connection, end: int | None) -> int:
        """Reads the ranges in pages, each in a snapshot of its own. Returns the index after the last event."""
        index, is_last = self._first_index, False
        self._compare_roots()
        while not is_last:
            rows = await db.fetch(_SQL["log_pages"], index, RANGES)
            is_last = len(rows) < RANGES
            for row in rows:
                if end is not None and row["first_index"] >= end:
                    is_last = True
                    break
                await self._add(db, row["first_index"] - index, row["stream_id"], row["first_version"], row["leaves"])
                if row["count"] * HASH_BYTES != len(row["leaves"]):
                    self._report("the range was changed: it has other leaves than events", row["stream_id"])
                index = row["first_index"] + row["count"]
        for row in await db.fetch(_SQL["tiles_beyond"], self._epoch, self._first_index, end, MAX_FAULTS):
            self._report(
                f"the stored tile {row['number']} at level {row['level']} was inserted: the log ends before it"
            )
        self.unreached = [item for item in self._waiting if index < self._first_index + item.checkpoint.size]
        return index

    def report_unreached(self, item: KnownCheckpoint) -> None:
        """Reports that the log ends before the checkpoint."""
        text = f"{item.source} has {item.checkpoint.size} events, but the log has {self._edge.size}: the log was "
        self._report(text + "truncated, or the database is an older backup")

    async def _add(self, db: Connection, gap: int, stream_id: str, first_version: int, leaves: bytes) -> None:
        if gap != 0:
            self._is_whole = False
            index = self._first_index + self._edge.size
            self._report(f"the log has a gap before index {index + gap}: a range was removed or changed", stream_id)
        if len(leaves) % HASH_BYTES:
            return
        self._recent.append((self._edge.size, stream_id, first_version))
        hashes = split_hashes(leaves)
        while hashes:
            size = self._waiting[0].checkpoint.size - self._edge.size if self._waiting else len(hashes)
            part, hashes = hashes[:size], hashes[size:]
            for place, tile in self._edge.append(part).items():
                await self._compare_tile(db, place, tile)
            self._compare_roots()

    def _compare_roots(self) -> None:
        while self._waiting and self._waiting[0].checkpoint.size == self._edge.size:
            item = self._waiting.popleft()
            if self._is_whole and item.checkpoint.root != self._edge.root():
                self._is_whole = False
                first, last = self._first_index + self._last_good, self._first_index + self._edge.size - 1
                text = f"the log was rewritten or forked: it has another root than {item.source}."
                self._report(f"{text} An event with an index from {first} to {last} differs")
            self._last_good = self._edge.size

    async def _compare_tile(self, db: Connection, place: TilePlace, tile: bytes) -> None:
        if not self._is_whole:
            return
        row = await db.fetchrow(_SQL["tile"], self._epoch, place.level, place.number)
        if row is None:
            return
        stored = row["hashes"]
        if stored == tile and row["root"] != hash_complete(split_hashes(tile)):
            self._report(f"the root of the stored tile {place.number} at level {place.level} was changed")
        if stored == tile:
            return
        if place.level:
            self._report(f"the stored tile {place.number} at level {place.level} was changed")
            return
        first = place.number * FULL_WIDTH
        at = next((n for n in range(FULL_WIDTH) if tile[32 * n : 32 * n + 32] != stored[32 * n : 32 * n + 32]), 0)
        for begin, stream_id, version in reversed(self._recent):
            if begin <= first + at:
                text = f"the log was rewritten: the stored tile has another leaf at index {first + at}"
                if len(self.faults) < MAX_FAULTS:
                    self.faults.append(Fault(stream_id, version + first + at - begin, text))
                return

    def _report(self, text: str, stream_id: str | None = None) -> None:
        if len(self.faults) < MAX_FAULTS:
            self.faults.append(Fault(stream_id, None, text))
