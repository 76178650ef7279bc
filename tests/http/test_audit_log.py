"""A whole server seals its events, counts them and reports how they wait."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from service.audit import attesters, sequencer
from service.audit.checkpoint import open_checkpoint
from service.audit.notes import Note, SignatureType, VerifierKey, encode_base64
from service.audit.tiles import TreeEdge, split_hashes
from service.errors import StartupError
from service.telemetry import health
from sql.connection import Connection
from tests.audit import tsa_server
from tests.audit.appends import check_log
from tests.audit.witness_server import WitnessServer, running
from tests.client import KEY, Client
from tests.conftest import StartServer
from tests.http.helpers import run_of
from tests.http.test_metrics import scraped, value

WAIT_S = 60.0


async def test_all_events_of_a_run_are_sealed_and_counted(client: Client, db: Connection) -> None:
    await client.settled(await run_of(client, "Hi"))
    events = await db.fetchval("SELECT count(*) FROM events")
    async with asyncio.timeout(WAIT_S):
        while value(seen := await scraped(client), "log_size") != events:
            await asyncio.sleep(0.005)
        while await db.fetchval("SELECT count(*) FROM log_pending"):
            await asyncio.sleep(0)
    assert await check_log(db) == events
    assert (value(seen, "log_lag_seconds") or 0.0) < WAIT_S
    assert value(await scraped(client), "log_pending") == 0


async def test_healthz_is_degraded_if_events_wait_for_long(
    start_server: StartServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "CACHE_S", 0.0)
    async with start_server() as client:
        assert (await _health(client))[1]["audit_log"] == "ok"
        assert (await _health(client))[1]["checkpoints"] == "ok"
        monkeypatch.setattr(sequencer, "MAX_LAG_S", -1.0)
        status, content = await _health(client)
        assert (status, content["status"]) == (200, "degraded")
        assert content["audit_log"].startswith("events have waited for")


async def test_a_server_signs_checkpoints_with_the_key_that_it_records(client: Client, db: Connection) -> None:
    await client.settled(await run_of(client, "Hi"))
    events = await db.fetchval("SELECT count(*) FROM events")
    async with asyncio.timeout(WAIT_S):
        while await db.fetchval("SELECT size FROM log_latest") != events:
            await asyncio.sleep(0.01)
    (vkey,) = await db.fetchval(
        "SELECT array_agg(content ->> 'verifier_key') FROM events_readable WHERE type = 'log_key.used'"
    )
    note = Note.parse(await db.fetchval("SELECT note FROM log_latest"))
    checkpoint = open_checkpoint(note, VerifierKey.parse(vkey))
    edge = TreeEdge()
    edge.append(split_hashes(await db.fetchval("SELECT string_agg(leaves, '' ORDER BY first_index) FROM log_ranges")))
    assert (checkpoint.size, checkpoint.root) == (events, edge.root())
    assert await db.fetchval("SELECT count(*) FROM log_checkpoints") == 1


async def test_a_witness_cosigns_and_its_state_is_no_stranger_s_business(
    start_server: StartServer, db: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "CACHE_S", 0.0)
    monkeypatch.setattr(attesters, "LOOK_EVERY_S", 0.05)
    seed = bytes(range(32))
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    log_key = VerifierKey(await db.fetchval("SELECT origin FROM log_epochs"), SignatureType.LOG, public)
    async with running(WitnessServer()) as witness:
        witness.know(str(log_key))
        async with start_server(log_key=encode_base64(seed), witnesses=witness.setting) as client:
            async with asyncio.timeout(WAIT_S):
                while not await db.fetchval("SELECT count(*) FROM log_attestations"):
                    await asyncio.sleep(0.01)
                while not value(await scraped(client), "log_attested_size", attester=witness.name):
                    await asyncio.sleep(0.01)
            address = client.base_url.removesuffix("/v1")
            headers = {"Authorization": f"Bearer {KEY}"}
            async with client.session.get(f"{address}/audit/log/checkpoint", headers=headers) as response:
                note = Note.parse(await response.text())
            assert set(note.verify([log_key, VerifierKey.parse(witness.vkey)])) == {
                log_key,
                VerifierKey.parse(witness.vkey),
            }
            content = (await _health(client))[1]
            assert (content["status"], content["attestations"]) == ("ok", "ok")
            assert content["attesters"][witness.name].startswith("has attested")
            async with client.session.get(f"{address}/healthz", headers={"X-Forwarded-For": "203.0.113.7"}) as response:
                assert witness.name not in await response.text()


async def test_a_witness_that_cannot_be_used_ends_the_start(start_server: StartServer) -> None:
    with pytest.raises(StartupError, match="EVERTHREAD_WITNESSES: the key of the witness 1 is wrong"):
        async with start_server(witnesses="https://witness.example hello"):
            pass


async def test_an_authority_stamps_a_kept_checkpoint(
    start_server: StartServer, db: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attesters, "LOOK_EVERY_S", 0.05)
    async with (
        tsa_server.running(tmp_path / "tsa") as tsa,
        start_server(tsa_url=tsa.url, tsa_certificates=tsa.root),
        asyncio.timeout(WAIT_S),
    ):
        while not await db.fetchval("SELECT count(*) FROM log_attestations WHERE kind = 'time_stamp'"):
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("url", "certificates", "problem"),
    [
        ("https://tsa.example", None, "EVERTHREAD_TSA_URL needs EVERTHREAD_TSA_CERTIFICATES"),
        ("https://tsa.example", "/no/such/file", "EVERTHREAD_TSA_CERTIFICATES: cannot be read: No such file"),
        ("ftp://hunter2@tsa.example", "root.pem", "EVERTHREAD_TSA_URL: must start with"),
    ],
)
async def test_an_authority_that_cannot_be_used_ends_the_start(
    start_server: StartServer, tmp_path: Path, url: str, certificates: str | None, problem: str
) -> None:
    (tmp_path / "root.pem").write_bytes(tsa_server.Authority("root").pem)
    file = None if certificates is None else tmp_path / certificates
    with pytest.raises(StartupError, match=problem):
        async with start_server(tsa_url=url, tsa_certificates=file):
            pass


async def test_a_server_with_another_key_takes_over(
    start_server: StartServer, db: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys are rotated by the start of a server with a new one, while others run."""
    monkeypatch.setattr(health, "CACHE_S", 0.0)
    keys = [base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2)]

    async def superseded(client: Client) -> None:
        while "another key" not in (await _health(client))[1]["checkpoints"]:
            await asyncio.sleep(0.05)

    async with asyncio.timeout(WAIT_S), start_server(log_key=keys[0]) as first:
        await first.post("/assistants", {"model": "gpt-4o"})
        while not await db.fetchval("SELECT size FROM log_latest"):
            await asyncio.sleep(0.05)
        async with start_server(log_key=keys[1]) as second:
            await superseded(first)
            assert (await _health(first))[1]["status"] == "degraded"
            await first.post("/assistants", {"model": "gpt-4o"})
            while await db.fetchval("SELECT size FROM log_latest") < await db.fetchval("SELECT count(*) FROM events"):
                await asyncio.sleep(0.05)
            assert (await _health(second))[1]["checkpoints"] == "ok"
            newest = (
                "SELECT content ->> 'verifier_key' FROM events_readable WHERE type = 'log_key.used' ORDER BY version"
            )
            [_, vkey] = [row[0] for row in await db.fetch(newest)]
            note = Note.parse(await db.fetchval("SELECT note FROM log_latest"))
            assert open_checkpoint(note, VerifierKey.parse(vkey)).size
            async with start_server(log_key=keys[0]):
                await superseded(second)
                while (await _health(first))[1]["checkpoints"] != "ok":
                    await asyncio.sleep(0.05)


async def test_a_key_that_cannot_be_used_ends_the_start(start_server: StartServer) -> None:
    with pytest.raises(StartupError, match="EVERTHREAD_LOG_KEY holds no Ed25519 key"):
        async with start_server(log_key="AAAA"):
            pass


async def _health(client: Client) -> tuple[int, dict[str, Any]]:
    async with client.session.get(client.base_url.removesuffix("/v1") + "/healthz") as response:
        return response.status, await response.json()
