"""Checks the cosignatures of witnesses and the time stamps on kept checkpoints.

Each must be one of the exact checkpoint. Those of parties that the auditor names also say something against who has the
database and the log's key: a witness cosigns one history only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cryptography import x509

from service.audit.attestations import AttestationKind
from service.audit.faults import Fault
from service.audit.log_check import KnownCheckpoint
from service.audit.log_tree import load_epoch
from service.audit.notes import FormatError, NoteSignature, VerifierKey, cosigning_time
from service.audit.time_stamps import StampError, verify_stamp
from sql import queries
from sql.connection import Connection

PAGE = 2000
# Faults that are reported of all attestations; more of them say nothing new.
MAX_FAULTS = 20

_SQL = queries("verify")
_Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """The parties whose attestations count: the keys of `witnesses`, and the `roots` of time stamp authorities.

    A checkpoint must be cosigned by `quorum` of the witnesses.
    """

    witnesses: Collection[VerifierKey] = ()
    quorum: int = 0
    roots: Sequence[x509.Certificate] = ()


@dataclass(slots=True)
class AttestationResult:
    """The numbers of valid cosignatures and stamps, and of stamps that were not checked for want of certificates.

    `witnessed` is the size of the newest checkpoint that the quorum cosigned; None if there is none, or no quorum.
    """

    cosignatures: int = 0
    stamps: int = 0
    unchecked_stamps: int = 0
    witnessed: int | None = None
    faults: list[Fault] = field(default_factory=list)


async def check_attestations(db: Connection, trust: Trust, known: Sequence[KnownCheckpoint]) -> AttestationResult:
    """Checks all stored attestations, and that the quorum cosigned a checkpoint of the newest epoch.

    Cosignatures on the `known` checkpoints, from outside the database, count too. `log_check` checks that the log
    extends all these checkpoints.
    """
    result, epoch = AttestationResult(), await load_epoch(db)
    signers: defaultdict[int, set[VerifierKey]] = defaultdict(set)
    for item in known:
        if item.note is not None and item.checkpoint.origin == epoch.origin:
            signers[item.checkpoint.size] |= _find_witnesses(item, trust)
    after, size, attester = 0, -1, ""
    while rows := await db.fetch(_SQL["attestations"], after, size, attester, PAGE):
        for row in rows:
            after, size, attester = row["epoch"], row["size"], row["attester"]
            fault = _find_fault(row, trust, result)
            if fault is not None and len(result.faults) < MAX_FAULTS:
                result.faults.append(Fault(None, None, fault))
            if fault is None and row["epoch"] == epoch.epoch and row["kind"] == AttestationKind.WITNESS:
                signers[row["size"]] |= {key for key in trust.witnesses if str(key) == row["attester"]}
    if trust.quorum:
        sizes = [size for size, keys in signers.items() if len(keys) >= trust.quorum]
        result.witnessed = max(sizes, default=None)
        if result.witnessed is None:
            text = (
                f"no checkpoint of {epoch.origin} is cosigned by {trust.quorum} of the {len(trust.witnesses)} witnesses"
            )
            result.faults.append(Fault(None, None, text))
    return result


def _find_witnesses(item: KnownCheckpoint, trust: Trust) -> set[VerifierKey]:
    """Returns the witnesses whose valid cosignatures the checkpoint has."""
    assert item.note is not None
    lines = item.note.signatures
    return {
        key
        for key in trust.witnesses
        for line in lines
        if (line.name, line.key_id) == (key.name, key.id) and key.is_valid(item.note.text, line.signature)
    }


def _find_fault(row: _Row, trust: Trust, result: AttestationResult) -> str | None:
    """Returns a sentence that says why the attestation is not valid; None if it is, after it was counted."""
    checkpoint = f"the checkpoint of {row['size']} events in the database"
    if row["note"] is None:
        return f"{checkpoint}, which {_name(row)} attested, was removed"
    match row["kind"]:
        case AttestationKind.WITNESS:
            if not _is_cosignature(row):
                return f"the cosignature of {_name(row)} on {checkpoint} was changed"
            result.cosignatures += 1
        case AttestationKind.TIME_STAMP if not trust.roots:
            result.unchecked_stamps += 1
        case AttestationKind.TIME_STAMP:
            try:
                is_same = verify_stamp(row["data"], row["note"], trust.roots) == row["at"]
            except StampError as error:
                return f"the time stamp of {_name(row)} on {checkpoint} is not valid: {error}"
            if not is_same:
                return f"the time stamp of {_name(row)} on {checkpoint} has another time than its row"
            result.stamps += 1
        case _:
            return f"the attestation of {_name(row)} on {checkpoint} is of an unknown kind"
    return None


def _is_cosignature(row: _Row) -> bool:
    """Says if the row has a valid cosignature of its checkpoint by the key that it names."""
    try:
        key = VerifierKey.parse(row["attester"])
        text = row["data"].decode()
        line = NoteSignature.parse(text.removesuffix("\n"))
    except (FormatError, UnicodeDecodeError):
        return False
    note = row["note"].partition("\n\n")[0] + "\n"
    is_own = str(line) == text and (line.name, line.key_id) == (key.name, key.id)
    return is_own and key.is_valid(note, line.signature) and cosigning_time(line.signature) == row["at"].timestamp()


def _name(row: _Row) -> str:
    return str(row["attester"]).partition("+")[0][:200]
