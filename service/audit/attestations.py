"""Statements of other parties about kept checkpoints: cosignatures of witnesses, and time stamps.

They are stored for good in log_attestations. The requests to a party (an *attester*) are shared by all processes in
log_attesters: a process claims a checkpoint for a while, so no two of them ask at the same time, and the work of a
process that died is done by another one when the claim ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from service.audit.log_tree import LatestCheckpoint
from service.audit.notes import FormatError, Note, NoteSignature
from sql import queries
from sql.connection import Connection

# A cosigned checkpoint is served in place of the newest one if it is at most so much older.
MAX_COSIGNED_AGE = timedelta(minutes=5)
# Kept checkpoints among which the one with the most cosignatures is chosen: about those of MAX_COSIGNED_AGE, or a day.
PUBLISHED_AMONG = 10
PROVEN_AMONG = 1440

_SQL = queries("attestations")


class AttestationKind(StrEnum):
    """The kinds of statements, as log_attestations names them."""

    WITNESS = "witness"
    TIME_STAMP = "time_stamp"


@dataclass(frozen=True, slots=True)
class Attestation:
    """A verified statement about a checkpoint: `at` is the time in it, and `data` the bytes to store."""

    kind: AttestationKind
    at: datetime
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointClaim:
    """A kept checkpoint for which this process asks the attester, until `ends_at`.

    The attester has attested a checkpoint of `known_size` events, as far as known; `failures` requests in a row failed.
    """

    epoch: int
    attester: str
    size: int
    note: str
    known_size: int
    failures: int
    ends_at: datetime


@dataclass(frozen=True, slots=True)
class AttesterState:
    """The requests to an attester: `size` is that of the newest checkpoint that it has attested, as far as known.

    `waiting_since` is None if it has attested the newest kept checkpoint. `problem` is the last failure, after
    `failures` in a row, and is serious if the attester contradicts the log.
    """

    attester: str
    size: int = 0
    waiting_since: datetime | None = None
    failures: int = 0
    problem: str | None = None
    is_serious: bool = False


async def claim_checkpoint(
    db: Connection, epoch: int, attester: str, *, now: datetime, ends_at: datetime
) -> CheckpointClaim | None:
    """Returns a claim on the newest kept checkpoint; None if it is attested, or if it is too early to ask again."""
    row = await db.fetchrow(_SQL["claim"], epoch, attester, now, ends_at)
    return None if row is None else CheckpointClaim(epoch=epoch, attester=attester, ends_at=ends_at, **row)


async def store_attestation(
    db: Connection, claim: CheckpointClaim, attestation: Attestation, *, next_at: datetime
) -> None:
    """Stores the attestation of the claimed checkpoint, and ends the claim. The attester is next asked at `next_at`."""
    await db.execute(
        _SQL["add"],
        claim.epoch,
        claim.size,
        claim.attester,
        attestation.kind,
        attestation.at,
        attestation.data,
        next_at,
        claim.ends_at,
    )


async def put_off(db: Connection, claim: CheckpointClaim, problem: str, *, is_serious: bool, next_at: datetime) -> None:
    """Ends the claim after a failure. The attester is asked again at `next_at`."""
    await db.execute(_SQL["put_off"], claim.epoch, claim.attester, next_at, problem, is_serious, claim.ends_at)


async def load_states(db: Connection, epoch: int, attesters: Sequence[str]) -> dict[str, AttesterState]:
    """Returns the states by attester. Those that were never asked have the initial state."""
    found = {row["attester"]: AttesterState(**row) for row in await db.fetch(_SQL["states"], epoch, list(attesters))}
    return {attester: found.get(attester) or AttesterState(attester) for attester in attesters}


async def load_cosignatures(db: Connection, epoch: int, size: int) -> list[NoteSignature]:
    """Returns the cosignatures of witnesses on the kept checkpoint of this size, without those that are none."""
    return _parse_lines([row["data"] for row in await db.fetch(_SQL["cosignatures"], epoch, size)])


async def load_published(db: Connection, latest: LatestCheckpoint) -> str | None:
    """Returns the checkpoint to publish: one with cosignatures that was kept since MAX_COSIGNED_AGE, else the newest.

    Returns None if none was signed yet.
    """
    since = latest.at - MAX_COSIGNED_AGE
    cosigned = await load_cosigned(db, latest, min_size=0, among=PUBLISHED_AMONG, since=since)
    return latest.note if cosigned is None else str(cosigned)


async def load_cosigned(
    db: Connection, latest: LatestCheckpoint, *, min_size: int, among: int, since: datetime | None = None
) -> Note | None:
    """Returns the kept checkpoint with the most cosignatures, and of several the newest, with these.

    It has `min_size` events or more, is one of the newest `among` of its epoch, was kept after `since`, and has the
    log's key of the newest checkpoint, `latest`. Returns None if there is none.
    """
    if latest.note is None:
        return None
    row = await db.fetchrow(_SQL["cosigned"], latest.epoch, min_size, among, since)
    if row is None:
        return None
    try:
        newest, kept = Note.parse(latest.note), Note.parse(row["note"])
        if {line.key_id for line in newest.signatures}.isdisjoint(line.key_id for line in kept.signatures):
            return None
        return add_signatures(kept, _parse_lines(row["lines"]))
    except FormatError:
        return None  # it was changed by hand: `everthread verify` names it


def add_signatures(note: Note, signatures: Sequence[NoteSignature]) -> Note:
    """Returns the note with more signatures."""
    return Note(note.text, (*note.signatures, *signatures))


def _parse_lines(lines: Sequence[bytes]) -> list[NoteSignature]:
    """Returns the signatures of those lines that are one. `everthread verify` names the others."""
    found = list[NoteSignature]()
    for line in lines:
        with suppress(FormatError, UnicodeDecodeError):
            found.append(NoteSignature.parse(line.decode().removesuffix("\n")))
    return found
