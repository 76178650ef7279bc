"""Witnesses cosign kept checkpoints; those that are flaky, slow or lie hold up nothing and are named."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from service.audit import attesters, witnesses
from service.audit.attestations import claim_checkpoint, load_cosignatures, load_cosigned, load_published
from service.audit.attesters import MAX_WAITING_S, RETRY_S, AttestationCollector
from service.audit.checkpoint import Checkpoint
from service.audit.checkpoint_signer import KEEP_EVERY_S, verifier_key
from service.audit.log_tree import load_epoch, load_latest
from service.audit.notes import Note, VerifierKey
from service.audit.witnesses import MAX_WITNESSES, open_witnesses
from service.database import Pool
from sql.connection import Connection
from tests.audit.sealing import fill
from tests.audit.test_checkpoint_signer import FIRST, Process
from tests.audit.test_interop import aics  # noqa: F401 - a fixture
from tests.audit.witness_server import Fault, WitnessServer, running
from tests.clock import CLOCK


class Log:
    """A process that signs the log of the test's database and asks witnesses."""

    def __init__(self, pool: Pool, db: Connection, folder: Path, *servers: WitnessServer) -> None:
        self.db = db
        self.process = Process(pool, folder)
        self.clock = self.process.clock
        self.witnesses = open_witnesses(",".join(server.setting for server in servers), clock=self.clock)
        self.collector = AttestationCollector(pool, self.witnesses, clock=self.clock)
        self.key: VerifierKey | None = None

    async def grow(self, size: int, *servers: WitnessServer) -> None:
        """Keeps a checkpoint of `size` events."""
        await fill(self.db, size)
        self.clock.skip(KEEP_EVERY_S + 1)
        await self.process.scan()
        self.key = verifier_key(await load_epoch(self.db), FIRST)
        for server in servers:
            server.know(str(self.key))
            server.time = int(self.clock.now().timestamp())

    async def ask(self) -> dict[str, str]:
        """Asks each witness once. Returns the lines about them."""
        for witness in self.witnesses:
            await self.collector.scan(witness)
        return self.collector.describe()

    async def published(self) -> Note:
        return Note.parse(str(await load_published(self.db, await load_latest(self.db))))

    async def rows(self) -> list[tuple[int, str]]:
        rows = await self.db.fetch("SELECT size, attester FROM log_attestations ORDER BY size, attester")
        return [(row["size"], row["attester"]) for row in rows]


@pytest.fixture
async def witness() -> AsyncIterator[WitnessServer]:
    async with running(WitnessServer()) as server:
        yield server


@pytest.fixture
async def log(pool: Pool, db: Connection, tmp_path: Path, witness: WitnessServer) -> Log:
    return Log(pool, db, tmp_path, witness)


async def test_a_witness_cosigns_each_kept_checkpoint(log: Log, witness: WitnessServer) -> None:
    key = VerifierKey.parse(witness.vkey)
    for size in (1, 7, 255, 256, 300, 1000):
        await log.grow(size, witness)
        assert await log.ask() == {witness.name: f"has attested {size} events"}
        assert await log.collector.check_health() is None
        note = await log.published()
        assert log.key is not None
        assert set(note.verify([log.key, key])) == {log.key, key}
        assert Checkpoint.parse(note.text).size == size
        sent = len(witness.requests)
        await log.ask()
        assert len(witness.requests) == sent
    assert [request.split("\n")[0] for request in witness.requests] == [
        *("old 0", "old 1", "old 7", "old 255", "old 256", "old 300")
    ]
    assert await log.rows() == [(size, witness.vkey) for size in (1, 7, 255, 256, 300, 1000)]


async def test_a_changed_cosignature_holds_up_nothing(log: Log, witness: WitnessServer, db: Connection) -> None:
    """The checkpoint is served without it, whatever bytes somebody wrote."""
    await log.grow(5, witness)
    await log.ask()
    whole = await log.published()
    for data in (b"\xff\xfe", b"", b"no line\n", str(whole).encode()):
        await db.execute("UPDATE log_attestations SET data = $1", data)
        note = await log.published()
        assert (note.text, note.signatures) == (whole.text, whole.signatures[:1])
        assert await load_cosignatures(db, 1, 5) == []


async def test_an_independent_implementation_accepts_the_cosigned_checkpoint(
    log: Log,
    witness: WitnessServer,
    aics: ModuleType,  # noqa: F811
) -> None:
    await log.grow(70, witness)
    await log.ask()
    note = aics.parse_note(str(await log.published()))
    result = aics.verify_checkpoint(note, aics.parse_vkey(str(log.key)), [aics.parse_vkey(witness.vkey)], quorum=1)
    assert result.ok, result


async def test_a_witness_that_has_seen_more_or_less_says_so(log: Log, witness: WitnessServer, db: Connection) -> None:
    await log.grow(100, witness)
    await log.ask()
    await db.execute("UPDATE log_attesters SET size = 40")
    await log.grow(200, witness)
    await log.ask()
    assert [request.split("\n")[0] for request in witness.requests] == ["old 0", "old 40", "old 100"]
    # The witness lost its state.
    witness.seen.clear()
    await log.grow(300, witness)
    assert await log.ask() == {witness.name: "has attested 300 events"}
    assert await log.rows() == [(100, witness.vkey), (200, witness.vkey), (300, witness.vkey)]


async def test_a_fork_is_serious(log: Log, witness: WitnessServer, db: Connection) -> None:
    await log.grow(100, witness)
    await log.ask()
    origin = (await load_epoch(db)).origin
    witness.seen[origin] = (100, bytes(32))
    await log.grow(200, witness)
    problem = "says that the log contradicts the 100 events that it has seen (422)"
    assert await log.ask() == {witness.name: f"{problem} (failed once)"}
    assert await log.collector.check_health() == (
        "1 of 1 witnesses and time stamp authorities do not attest the audit log: one contradicts it"
    )
    witness.seen[origin] = (1000, bytes(32))
    log.clock.skip(RETRY_S)
    problem = "has seen 1000 events of the log, and the newest kept checkpoint has 200"
    assert await log.ask() == {witness.name: f"{problem} (failed 2 times in a row)"}
    assert "one contradicts it" in str(await log.collector.check_health())
    assert len(await log.rows()) == 1


async def test_a_log_that_is_ahead_of_its_kept_checkpoint_is_no_contradiction(
    log: Log, witness: WitnessServer, db: Connection
) -> None:
    await log.grow(100, witness)
    await fill(db, 300)
    witness.seen[(await load_epoch(db)).origin] = (200, bytes(32))
    assert "the newest kept checkpoint has 100" in (await log.ask())[witness.name]
    assert await log.collector.check_health() is None


async def _status(status: int, text: str = "") -> web.Response:
    return web.Response(status=status, text=text)


def answers(status: int, text: str = "") -> Fault:
    return lambda server, body: _status(status, text)


def cosigns(change: Any) -> Fault:
    """A fault that answers a changed cosignature."""

    async def answer(server: WitnessServer, body: str) -> web.Response:
        text = body.partition("\n\n")[2].partition("\n\n")[0] + "\n"
        return web.Response(text=change(server, text))

    return answer


async def _hang(server: WitnessServer, body: str) -> web.Response:
    await asyncio.Event().wait()
    raise AssertionError


async def _trickle(server: WitnessServer, body: str) -> web.Response:
    raise aiohttp.ClientConnectionError


OTHER = WitnessServer(seed=8)


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        (answers(404), "does not know the log (404): its operator must add the log's key"),
        (answers(403), "does not know the log's key (403)"),
        (answers(400), "answered 400"),
        (answers(500), "answered 500"),
        (answers(429), "answered 429"),
        (answers(302), "answered 302"),
        (answers(409), "answered 409 without a size"),
        (answers(409, "-1\n"), "answered 409 without a size"),
        (answers(409, "01\n"), "answered 409 without a size"),
        (answers(409, "9" * 40 + "\n"), "answered 409 without a size"),
        (answers(409, "0\n"), "answered 409 and the size that was sent, 0"),
        (answers(409, "9000\n"), "has seen 9000 events of the log, and the newest kept checkpoint has 70"),
        (answers(200), "answered no valid cosignature"),
        (answers(200, "hello"), "answered no valid cosignature"),
        (answers(200, "x" * 100_000), "answered more than 65536 bytes"),
        (cosigns(lambda server, text: OTHER.line(text)), "answered no valid cosignature"),
        (cosigns(lambda server, text: server.line(text + "more\n")), "answered no valid cosignature"),
        (cosigns(lambda server, text: f"more\n\n{server.line(f'{text}{chr(10)}more{chr(10)}')}"), "answered no valid"),
        (cosigns(lambda server, text: server.line(text, 0)), "cosigned with the time 1970-01-01T00:00:00+00:00"),
        (cosigns(lambda server, text: server.line(text, 2**62)), "cosigned with the time 3058"),
        (cosigns(lambda server, text: server.line(text)[:-9] + "AAAAAAA=\n"), "answered no valid cosignature"),
    ],
)
async def test_a_wrong_answer_is_named_and_asked_again(
    log: Log, witness: WitnessServer, fault: Fault, problem: str
) -> None:
    await log.grow(70, witness)
    witness.faults.append(fault)
    state = (await log.ask())[witness.name]
    assert state.startswith(problem)
    assert state.endswith("(failed once)")
    assert await log.rows() == []
    assert await log.published() == Note.parse(str((await load_latest(log.db)).note))
    await log.ask()
    assert await log.rows() == []  # it is too early
    log.clock.skip(RETRY_S + 0.1)
    witness.time += 5
    assert await log.ask() == {witness.name: "has attested 70 events"}


async def test_a_failure_doubles_the_pause_up_to_a_bound(
    log: Log, witness: WitnessServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attesters, "MAX_RETRY_S", 4 * RETRY_S)
    await log.grow(70, witness)
    witness.faults.extend([answers(500)] * 5)
    for pause in (RETRY_S, 2 * RETRY_S, 4 * RETRY_S, 4 * RETRY_S):
        await log.ask()
        sent = len(witness.requests)
        log.clock.skip(pause - 0.5)
        await log.ask()
        assert len(witness.requests) == sent
        log.clock.skip(0.6)
    assert await log.collector.check_health() is None
    log.clock.skip(MAX_WAITING_S)
    assert (
        await log.collector.check_health() == "1 of 1 witnesses and time stamp authorities do not attest the audit log"
    )


async def test_a_witness_that_changes_its_mind_is_asked_a_bounded_number_of_times(
    log: Log, witness: WitnessServer
) -> None:
    await log.grow(70, witness)
    witness.faults.extend(answers(409, f"{size}\n") for size in (1, 2, 3, 4, 5, 6))
    assert (await log.ask())[witness.name].startswith("names another size in each answer")
    assert len(witness.requests) == witnesses.MAX_CONFLICTS + 1


async def test_a_slow_witness_holds_up_no_other(
    pool: Pool, db: Connection, tmp_path: Path, witness: WitnessServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attesters, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(witnesses, "REQUEST_S", 0.3)
    async with running(WitnessServer("witness.example/slow", seed=9)) as slow:
        log = Log(pool, db, tmp_path, slow, witness)
        await log.grow(70, slow, witness)
        slow.faults.append(_hang)
        task = asyncio.create_task(log.collector.run())
        async with asyncio.timeout(30):
            while len(await log.rows()) < 1 or not log.collector.states[slow.name].failures:
                await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait({task})
    assert await log.rows() == [(70, witness.vkey)]
    assert log.collector.describe()[slow.name] == "cannot be reached: TimeoutError (failed once)"


async def test_two_processes_ask_once(pool: Pool, db: Connection, tmp_path: Path, witness: WitnessServer) -> None:
    logs = [Log(pool, db, tmp_path, witness) for _ in range(5)]
    await logs[0].grow(70, witness)
    for log in logs:
        log.clock.skip(KEEP_EVERY_S + 1)
    await asyncio.gather(*(log.ask() for log in logs))
    assert len(witness.requests) == 1
    # A process that died with a claim is replaced when the claim ends.
    await logs[0].grow(90, witness)
    now = logs[0].clock.now()
    dead = await claim_checkpoint(db, 1, witness.vkey, now=now, ends_at=now + timedelta(seconds=60))
    assert dead is not None
    await logs[1].ask()
    assert len(witness.requests) == 1
    logs[1].clock.skip(3 * KEEP_EVERY_S + 61)
    await logs[1].ask()
    assert await logs[1].rows() == [(70, witness.vkey), (90, witness.vkey)]


async def test_of_recent_checkpoints_the_one_with_the_most_cosignatures_is_published(
    pool: Pool, db: Connection, tmp_path: Path, witness: WitnessServer
) -> None:
    async with running(WitnessServer("witness.example/w2", seed=9)) as second:
        log = Log(pool, db, tmp_path, witness, second)
        await log.grow(10, witness, second)
        await log.ask()
        second.faults.extend([answers(500)] * 99)
        sizes = []
        for size in range(20, 90, 10):
            await log.grow(size, witness)
            await log.ask()
            note = await log.published()
            sizes.append((Checkpoint.parse(note.text).size, len(note.signatures)))
        assert sizes == [(10, 3), (10, 3), (10, 3), (10, 3), (60, 2), (70, 2), (80, 2)]
        latest = await load_latest(db)
        proven = await load_cosigned(db, latest, min_size=5, among=1440)
        assert proven is not None
        assert (Checkpoint.parse(proven.text).size, len(proven.signatures)) == (10, 3)
        assert await load_cosigned(db, replace(latest, epoch=9), min_size=0, among=9) is None


def test_the_setting_is_read() -> None:
    one, two = WitnessServer(), WitnessServer("witness.example/w2", seed=9)
    text = f"https://witness.example/prefix/ {one.vkey},\n http://127.0.0.1:8080 {two.vkey} ,"
    assert [(found.name, found.id) for found in open_witnesses(text, clock=CLOCK)] == [
        (one.name, one.vkey),
        (two.name, two.vkey),
    ]
    assert open_witnesses("", clock=CLOCK) == []
    log_key = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
    many = [WitnessServer(f"witness.example/{number}", seed=number) for number in range(MAX_WITNESSES + 1)]
    for wrong, message in (
        (one.vkey, "the key of the witness 1 is wrong"),
        (f"https://w.example {one.vkey[:-3]}", "the key of the witness 1 is wrong"),
        (f"https://w.example {log_key}", "the witness 1 needs an http"),
        (f"ftp://w.example {one.vkey}", "the witness 1 needs an http"),
        (f"https://w.example/?a=1 {one.vkey}", "the witness 1 needs an http"),
        (f"https://w.example {one.vkey},https://v.example {one.vkey}", "is named twice"),
        (",".join(f"https://w.example {server.vkey}" for server in many), f"at most {MAX_WITNESSES} witnesses"),
    ):
        with pytest.raises(ValueError, match=message):
            open_witnesses(wrong, clock=CLOCK)
