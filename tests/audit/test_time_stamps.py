"""Kept checkpoints get time stamps, which are verified offline; an authority that lies or is slow holds up nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from service.audit import time_stamps
from service.audit.attestations import load_published
from service.audit.attesters import RETRY_S, AttestationCollector
from service.audit.checkpoint_signer import KEEP_EVERY_S
from service.audit.log_tree import load_latest
from service.audit.notes import Note
from service.audit.time_stamps import STAMP_EVERY_S, StampError, load_roots, open_authority, verify_stamp
from service.database import Pool
from sql.connection import Connection
from tests.audit.sealing import fill
from tests.audit.test_checkpoint_signer import Process
from tests.audit.tsa_server import CONTENT_TYPE, Fault, TsaServer, openssl, running
from tests.clock import CLOCK


@pytest.fixture
async def tsa(tmp_path: Path) -> AsyncIterator[TsaServer]:
    async with running(tmp_path / "tsa") as server:
        yield server


class Log:
    """A process that signs the log of the test's database and asks an authority."""

    def __init__(self, pool: Pool, db: Connection, folder: Path, tsa: TsaServer) -> None:
        self.db = db
        self.process = Process(pool, folder)
        self.clock = self.process.clock
        self.authority = open_authority(tsa.url, load_roots(tsa.root), clock=self.clock)
        self.collector = AttestationCollector(pool, [self.authority], clock=self.clock)

    async def grow(self, size: int) -> None:
        """Keeps a checkpoint of `size` events."""
        await fill(self.db, size)
        self.clock.skip(KEEP_EVERY_S + 1)
        await self.process.scan()

    async def ask(self) -> str:
        """Asks the authority. Returns the line about it."""
        await self.collector.scan(self.authority)
        return self.collector.describe()[self.authority.name]

    async def stamps(self) -> list[tuple[str, bytes]]:
        rows = await self.db.fetch(
            "SELECT note, data FROM log_attestations JOIN log_checkpoints USING (epoch, size) ORDER BY size"
        )
        return [(row["note"], row["data"]) for row in rows]


@pytest.fixture
async def log(pool: Pool, db: Connection, tmp_path: Path, tsa: TsaServer) -> Log:
    return Log(pool, db, tmp_path, tsa)


async def test_a_kept_checkpoint_gets_a_stamp_that_openssl_verifies(log: Log, tsa: TsaServer, tmp_path: Path) -> None:
    await log.grow(70)
    assert await log.ask() == "has attested 70 events"
    ((note, stamp),) = await log.stamps()
    assert abs(verify_stamp(stamp, note, load_roots(tsa.root)) - CLOCK.now()) < timedelta(minutes=2)
    (tmp_path / "note").write_text(note)
    (tmp_path / "stamp.tsr").write_bytes(stamp)
    shown = await openssl(
        *("ts", "-verify", "-in", tmp_path / "stamp.tsr", "-data", tmp_path / "note", "-CAfile", tsa.root)
    )
    assert "OK" in shown
    # The stamp is no signature of a witness.
    assert await load_published(log.db, await load_latest(log.db)) == str(Note.parse(note))


async def test_a_stamp_verifies_only_as_it_is(log: Log, tsa: TsaServer, tmp_path: Path) -> None:
    await log.grow(70)
    await log.ask()
    ((note, stamp),) = await log.stamps()
    roots = load_roots(tsa.root)
    with pytest.raises(StampError, match="Mismatch between messages"):
        verify_stamp(stamp, note.replace("\n70\n", "\n71\n"), roots)
    async with running(tmp_path / "other") as other:
        with pytest.raises(StampError):
            verify_stamp(stamp, note, load_roots(other.root))
    with pytest.raises(StampError):
        verify_stamp(stamp + b"\0", note, roots)
    for place in range(0, len(stamp), 41):
        changed = bytearray(stamp)
        changed[place] ^= 1
        try:
            verify_stamp(bytes(changed), note, roots)
        except StampError:
            continue
        # Only bytes that nothing is derived from, such as those of a certificate that is not needed, may change.
        assert place > 500, place


async def test_stamps_are_made_at_intervals(log: Log, tsa: TsaServer) -> None:
    log.authority.every_s = 100.0
    for size, requests in ((10, 1), (20, 1), (30, 2)):
        await log.grow(size)
        assert await log.ask() == f"has attested {10 if requests == 1 else 30} events"
        assert (await log.collector.check_health(), tsa.requests) == (None, requests)
    await log.grow(40)
    log.clock.skip(600.0)
    # The authority's clock is not moved, so its time is too old for ours.
    assert "a clock is wrong" in await log.ask()


def _raw(body: bytes, status: int = 200) -> Fault:
    async def answer(tsa: TsaServer, request: bytes) -> web.Response:
        return web.Response(body=body, status=status, content_type=CONTENT_TYPE)

    return answer


async def _of_another_request(tsa: TsaServer, request: bytes) -> web.Response:
    """Answers with a stamp of the same text whose nonce is another one. The nonce stands before the last field."""
    changed = bytearray(request)
    assert request.endswith(b"\x01\x01\xff")
    changed[-4] ^= 1
    return web.Response(body=await tsa.reply(bytes(changed)), content_type=CONTENT_TYPE)


async def _of_another_text(tsa: TsaServer, request: bytes) -> web.Response:
    place = request.index(b"\x04\x20") + 2
    changed = bytearray(request)
    changed[place] ^= 1
    return web.Response(body=await tsa.reply(bytes(changed)), content_type=CONTENT_TYPE)


async def _refused(tsa: TsaServer, request: bytes) -> web.Response:
    changed = request.replace(bytes.fromhex("608648016503040201"), bytes.fromhex("608648016503040202"))
    return web.Response(body=await tsa.reply(changed), content_type=CONTENT_TYPE)


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        (_raw(b"", 503), "answered 503"),
        (_raw(b"", 302), "answered 302"),
        (_raw(b""), "answered no valid time stamp"),
        (_raw(b"hello"), "answered no valid time stamp"),
        (_raw(bytes(100_000)), "answered more than 65536 bytes"),
        (_raw(bytes.fromhex("30053003020102")), "answered no valid time stamp"),
        (_refused, "answered no valid time stamp"),
        (_of_another_request, "answered no valid time stamp"),
        (_of_another_text, "answered no valid time stamp"),
    ],
)
async def test_a_wrong_answer_is_named_and_asked_again(log: Log, fault: Fault, problem: str, tsa: TsaServer) -> None:
    await log.grow(70)
    tsa.faults.append(fault)
    state = await log.ask()
    assert state.startswith(problem)
    assert state.endswith("(failed once)")
    assert await log.stamps() == []
    log.clock.skip(RETRY_S + 1)
    assert await log.ask() == "has attested 70 events"


async def test_a_slow_authority_is_given_up(log: Log, tsa: TsaServer, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(tsa: TsaServer, request: bytes) -> Any:
        await asyncio.Event().wait()

    monkeypatch.setattr(time_stamps, "REQUEST_S", 0.2)
    await log.grow(70)
    tsa.faults.append(hang)
    assert await log.ask() == "cannot be reached: TimeoutError (failed once)"


def test_the_settings_are_read(tmp_path: Path) -> None:
    authority = open_authority("https://user:hunter2@tsa.example/tsr?key=hunter2", [], clock=CLOCK)
    assert (authority.id, authority.name) == ("https://tsa.example/tsr", "tsa.example")
    with pytest.raises(ValueError, match="must start with http"):
        open_authority("tsa.example", [], clock=CLOCK)
    (tmp_path / "empty").touch()
    with pytest.raises(ValueError, match="holds no certificates in PEM"):
        load_roots(tmp_path / "empty")
    with pytest.raises(ValueError, match="cannot be read: No such file"):
        load_roots(tmp_path / "none")
    assert KEEP_EVERY_S <= STAMP_EVERY_S
