"""Changed and missing attestations are found and named, and a quorum of witnesses can be demanded."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from service.audit.attestation_check import AttestationResult, Trust
from service.audit.attesters import AttestationCollector, Attester
from service.audit.checkpoint_signer import KEEP_EVERY_S, verifier_key
from service.audit.log_check import KnownCheckpoint
from service.audit.log_tree import load_epoch
from service.audit.notes import VerifierKey
from service.audit.time_stamps import load_roots, open_authority
from service.audit.verification import Progress, Scope, verify_installation
from service.audit.witnesses import open_witnesses
from service.database import Pool
from sql.connection import Connection
from tests.audit import tsa_server, witness_server
from tests.audit.sealing import grow
from tests.audit.test_checkpoint_signer import FIRST, SECOND, Process
from tests.audit.tsa_server import TsaServer
from tests.audit.witness_server import WitnessServer

NAMES = ("witness.example/w1", "witness.example/w2")


class Audited:
    """A log with two checkpoints. The first witness cosigned both; the second one the first, which also has a stamp."""

    def __init__(self, db: Connection, url: str, witnesses: list[WitnessServer], tsa: TsaServer) -> None:
        self.db = db
        self.url = url
        self.keys = [VerifierKey.parse(witness.vkey) for witness in witnesses]
        self.roots = load_roots(tsa.root)
        self.key: VerifierKey | None = None
        self.sizes: list[int] = []

    async def verify(
        self, quorum: int = 0, *, known: list[KnownCheckpoint] | None = None, **changes: object
    ) -> Progress:
        trust = Trust(**{"witnesses": self.keys, "quorum": quorum, "roots": self.roots, **changes})  # type: ignore[arg-type]
        assert self.key is not None
        scope = Scope(keys=[self.key], trust=trust, known=known or [])
        return await verify_installation(self.url, None, scope, lambda _: None)

    async def faults(self, quorum: int = 0) -> list[str]:
        return [str(fault) for fault in (await self.verify(quorum)).faults]


@pytest.fixture
async def audited(pool: Pool, db: Connection, database_url: str, tmp_path: Path) -> AsyncIterator[Audited]:
    one, two = WitnessServer(NAMES[0]), WitnessServer(NAMES[1], seed=9)
    async with (
        witness_server.running(one),
        witness_server.running(two),
        tsa_server.running(tmp_path / "tsa") as tsa,
    ):
        process, log = Process(pool, tmp_path), Audited(db, database_url, [one, two], tsa)
        first, second = open_witnesses(f"{one.setting},{two.setting}", clock=process.clock)
        authority = open_authority(tsa.url, log.roots, clock=process.clock)
        collector = AttestationCollector(pool, [first, second, authority], clock=process.clock)
        rounds: list[list[Attester]] = [[first, second, authority], [first]]
        for attesters in rounds:
            log.sizes.append(await grow(pool, db))
            await process.scan()
            log.key = verifier_key(await load_epoch(db), FIRST)
            for server in (one, two):
                server.know(str(log.key))
            for attester in attesters:
                await collector.scan(attester)
            process.clock.skip(KEEP_EVERY_S + 1)
        assert len(await db.fetch("SELECT FROM log_attestations")) == 4
        yield log


async def test_a_quorum_is_of_the_witnesses_that_are_named(audited: Audited) -> None:
    small, large = audited.sizes
    for quorum, size in ((0, None), (1, large), (2, small)):
        found = await audited.verify(quorum)
        assert (found.faults, found.attestations) == ([], AttestationResult(3, 1, 0, size))
    second = audited.keys[1:]
    assert (await audited.verify(1, witnesses=second)).attestations.witnessed == small
    [fault] = (await audited.verify(2, witnesses=second)).faults
    origin = (await load_epoch(audited.db)).origin
    assert str(fault) == f"log: no checkpoint of {origin} is cosigned by 2 of the 1 witnesses"
    stranger = VerifierKey.parse(WitnessServer("witness.example/w3", seed=3).vkey)
    assert len((await audited.verify(1, witnesses=[stranger])).faults) == 1
    assert (await audited.verify(roots=[])).attestations == AttestationResult(3, 0, 1, None)


async def test_a_cosigned_checkpoint_that_was_kept_elsewhere_counts(audited: Audited) -> None:
    """The administrator deletes the cosignatures."""
    rows = await audited.db.fetch(
        "SELECT note, convert_from(data, 'UTF8') AS line FROM log_attestations JOIN log_checkpoints USING (epoch, size)"
        " WHERE size = $1 AND kind = 'witness'",
        audited.sizes[0],
    )
    text = rows[0]["note"] + "".join(row["line"] for row in rows)
    await audited.db.execute("DELETE FROM log_attestations")
    assert len((await audited.verify(2)).faults) == 1
    found = await audited.verify(2, known=[KnownCheckpoint.parse(text, "the checkpoint kept.txt")])
    assert (found.faults, found.attestations.witnessed) == ([], audited.sizes[0])
    # The log must extend it.
    await audited.db.execute("DELETE FROM log_ranges WHERE first_index > 2")
    found = await audited.verify(2, known=[KnownCheckpoint.parse(text, "the checkpoint kept.txt")])
    assert any("the checkpoint kept.txt has" in str(fault) for fault in found.faults)


async def test_a_checkpoint_kept_elsewhere_has_the_signature_of_the_log(audited: Audited, db: Connection) -> None:
    note = await db.fetchval("SELECT note FROM log_checkpoints ORDER BY size LIMIT 1")
    other = verifier_key(await load_epoch(db), SECOND)
    for text, reason in (
        (note.replace(note[-20:], "A" * 17 + "==\n"), "the signature of everthread/"),
        (f"{note.partition(chr(10) * 2)[0]}\n\n— {other.name} {'A' * 92}\n", "no signature is of everthread/"),
    ):
        [fault] = (await audited.verify(known=[KnownCheckpoint.parse(text, "the checkpoint kept.txt")])).faults
        assert str(fault).startswith(f"log: the checkpoint kept.txt is not valid: {reason}")


@pytest.mark.parametrize(
    ("statement", "text"),
    [
        ("UPDATE log_attestations SET data = set_byte(data, 99, 66) WHERE kind = 'witness'", "was changed"),
        ("UPDATE log_attestations SET data = data || 'x' WHERE kind = 'witness'", "was changed"),
        ("UPDATE log_attestations SET data = '\\xff' WHERE kind = 'witness'", "was changed"),
        ("UPDATE log_attestations SET at = at + interval '1 s' WHERE kind = 'witness'", "was changed"),
        (
            "UPDATE log_attestations SET attester = 'witness.example/w1' WHERE kind = 'witness' AND size > 8",
            "was changed",
        ),
        ("DELETE FROM log_checkpoints WHERE size > 8", "attested, was removed"),
        ("UPDATE log_attestations SET size = 3 WHERE size > 8", "attested, was removed"),
        ("UPDATE log_attestations SET kind = 'oath' WHERE size > 8", "is of an unknown kind"),
        ("UPDATE log_attestations SET data = set_byte(data, 300, 7) WHERE kind = 'time_stamp'", "is not valid: "),
        ("UPDATE log_attestations SET at = at + interval '1 s' WHERE kind = 'time_stamp'", "another time than its row"),
        ("UPDATE log_attestations SET data = '' WHERE kind = 'time_stamp'", "is not valid: "),
        ("UPDATE log_checkpoints SET note = note || note WHERE size < 8", "is not valid: "),
    ],
)
async def test_a_changed_attestation_is_named(audited: Audited, statement: str, text: str) -> None:
    await audited.db.execute(statement)
    found = await audited.faults()
    assert any(text in fault for fault in found), found
