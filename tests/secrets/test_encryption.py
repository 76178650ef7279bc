"""An encrypted installation from its first start, one that becomes encrypted while servers run, and its keys."""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncIterator
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from yarl import URL

from projections import webhooks
from projections.webhooks import Delivery
from service.audit.verification import Scope, verify_installation
from service.database import connect, open_pool
from service.errors import CommandError, StartupError
from service.files.blob_sealing import count_plain_blobs, encrypt_blobs
from service.replay.encryption_sweep import count_plain_rows, encrypt_rows, encrypt_streams
from service.secrets.encryption import (
    begin_encryption,
    begin_rotation,
    prepare_encryption,
    read_keys,
    read_state,
    wrap_again,
)
from service.secrets.key_ring import KeyMissing, KeyRing, id_of, new_secret
from service.secrets.key_source import EncryptionKeySource, add_key, load_keys, parse_keys
from service.secrets.stream_keys import StreamKeys
from service.storage.folder import FolderBlobs
from service.storage.sealed_blobs import SealedBlobs, name_of
from sql.connection import Connection
from sql.seals import SealBroken, is_sealed
from tests.client import Client
from tests.clock import CLOCK, WallClock
from tests.fake_search_engine import FakeSearchEngine
from tests.fixtures.postgres import empty_database
from tests.fixtures.server import serving
from tests.http.files import download, upload
from tests.http.helpers import assistant_with
from tests.scripted import ScriptedServer, says

CANARY = "Pelargonium-7731"
TEXT = CANARY.encode() * 100_000
# The tables that hold the canary in a plain installation, and are encrypted.
TABLES = ("events", "streams", "threads", "messages", "runs", "steps", "assistants", "files")


@pytest.fixture
async def url(postgres: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """A database without migrations; the keys are those of the data directory."""
    monkeypatch.delenv("EVERTHREAD_KEY", raising=False)
    async with empty_database(postgres) as made:
        yield made


async def fill(client: Client, model: ScriptedServer) -> tuple[str, str]:
    """Makes objects of every kind with the canary. Returns the ids of a thread and an assistant."""
    model.script(says(f"{CANARY} is a flower."))
    assistant = await assistant_with(client, instructions=CANARY, metadata={"plant": CANARY})
    thread = {"messages": [{"role": "user", "content": CANARY}], "metadata": {"plant": CANARY}}
    run = await client.post("/threads/runs", {"assistant_id": assistant["id"], "thread": thread})
    await client.settled(run)
    await client.post(f"/threads/{run['thread_id']}", {"metadata": {"plant": f"{CANARY} again"}})
    await upload(client, filename=f'filename="{CANARY}.txt"')
    return run["thread_id"], assistant["id"]


async def tables_with_canary(db: Connection) -> set[str]:
    """Returns the tables of which a row shows the canary: its texts, and its bytes as text."""
    found = set()
    for table in TABLES:
        for row in await db.fetch(f"SELECT * FROM {table}"):
            if CANARY.encode() in b"|".join(_bytes(value) for value in row.values()):
                found.add(table)
    return found


def _bytes(value: object) -> bytes:
    if isinstance(value, list):
        return b"|".join(_bytes(element) for element in value)
    return value if isinstance(value, bytes) else str(value).encode()


async def check_texts(client: Client, thread_id: str, assistant_id: str) -> None:
    assert (await client.get(f"/assistants/{assistant_id}"))["instructions"] == CANARY
    assert [each["id"] for each in (await client.get("/assistants"))["data"]] == [assistant_id]
    thread = await client.get(f"/threads/{thread_id}")
    assert thread["metadata"] == {"plant": f"{CANARY} again"}
    messages = (await client.get(f"/threads/{thread_id}/messages"))["data"]
    assert [each["content"][0]["text"]["value"] for each in messages] == [f"{CANARY} is a flower.", CANARY]
    for message in messages:
        assert await client.get(f"/threads/{thread_id}/messages/{message['id']}") == message
    runs = (await client.get(f"/threads/{thread_id}/runs"))["data"]
    assert [run["instructions"] for run in runs] == [CANARY]
    steps = (await client.get(f"/threads/{thread_id}/runs/{runs[0]['id']}/steps"))["data"]
    assert len(steps) == 1
    assert [file["filename"] for file in (await client.get("/files"))["data"]] == [f"{CANARY}.txt"]
    past = await client.get(f"/threads/{thread_id}", at="1")
    assert past["metadata"] == {"plant": CANARY}


async def faults_of(url: str) -> list[str]:
    progress = await verify_installation(url, None, Scope(), lambda _: None)
    return [str(fault) for fault in progress.faults]


@pytest.mark.slow
async def test_a_new_installation_is_encrypted(url: str, model: ScriptedServer, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"search_engine": FakeSearchEngine(), "clock": WallClock(), "encryption": "on"}
    async with serving(url, model, tmp_path, **settings) as client:
        thread_id, assistant_id = await fill(client, model)
        await check_texts(client, thread_id, assistant_id)
        db = await connect(url)
        assert await tables_with_canary(db) == set()
        assert await db.fetchval("SELECT count(*) FROM events WHERE key_id IS NULL AND type LIKE 'thread.%'") == 0
        assert await faults_of(url) == []
    file = tmp_path / "audit" / "encryption_keys"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    # The next server has no key in memory: it reads the file, and all is there.
    async with serving(url, model, tmp_path, **settings) as client:
        await check_texts(client, thread_id, assistant_id)
    kept = file.read_bytes()
    file.unlink()
    db = await connect(url)
    ring = KeyRing()
    source = EncryptionKeySource(folder=tmp_path / "audit")
    with pytest.raises(KeyMissing, match=r"The database is encrypted, and its key [0-9a-f]{16} is missing"):
        await prepare_encryption(db, source, await read_keys(source, ring=ring), wants_encryption=True, ring=ring)
    with pytest.raises(KeyMissing):
        await StreamKeys(ring).check(db)
    file.write_bytes(kept)
    await prepare_encryption(db, source, await read_keys(source, ring=ring), wants_encryption=False, ring=ring)
    await db.close()


@pytest.mark.slow
async def test_stored_answers_and_signing_keys_are_encrypted(url: str, model: ScriptedServer, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"search_engine": FakeSearchEngine(), "clock": WallClock(), "encryption": "on"}
    request, headers = {"metadata": {"plant": CANARY}}, {"Idempotency-Key": "one"}
    async with serving(url, model, tmp_path, **settings) as client:
        first = await client.call("POST", "/threads", request, headers=headers)
        file = await upload(client)
        link = await client.post(f"/files/{file['id']}/links", {"expires_in": 600})
        db = await connect(url)
        contents = [row["content"] for row in await db.fetch("SELECT content FROM idempotency_keys")]
        assert [is_sealed(content) for content in contents] == [True]
        rows = await db.fetch("SELECT key_id, secret FROM signing_keys")
        assert [is_sealed(row["secret"]) for row in rows] == [True]
        rows = await db.fetch("SELECT headers, sealed_headers FROM idempotency_keys")
        assert [(row["headers"], is_sealed(row["sealed_headers"])) for row in rows] == [(None, True)]
        names = {row["stream_id"] for row in await db.fetch("SELECT stream_id FROM stream_keys")}
        assert {"installation:answers", "installation:signing_keys"} <= names
        # An answer that is moved to another key of a client does not open.
        await client.call("POST", "/threads", {}, headers={"Idempotency-Key": "two"})
        await db.execute("UPDATE idempotency_keys SET content = $1 WHERE content <> $1", contents[0])
        assert (await client.call("POST", "/threads", {}, headers={"Idempotency-Key": "two"})).status == 500
        await db.close()
    async with serving(url, model, tmp_path, **settings) as client:
        again = await client.call("POST", "/threads", request, headers=headers)
        assert (again.status, again.body) == (200, first.body)
        async with client.session.get(
            URL(client.base_url).with_path(URL(link["url"]).path, encoded=True).with_query(URL(link["url"]).query)
        ) as response:
            assert response.status == 200


@pytest.mark.slow
async def test_secrets_and_errors_of_webhooks_are_encrypted(url: str, model: ScriptedServer, tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "search_engine": FakeSearchEngine(),
        "clock": WallClock(),
        "webhooks_allow_private": True,
    }
    async with serving(url, model, tmp_path, encryption="on", **settings) as client:
        endpoint = {"url": "http://127.0.0.1:9/", "events": ["thread.run.completed"]}
        made = [await client.post("/webhook_endpoints", endpoint) for _ in range(2)]
        path = f"/webhook_endpoints/{made[0]['id']}"
        rotated = await client.post(f"{path}/rotate_secret", {"previous_expires_in": 600})
        assert made[0]["secret"].startswith("whsec_")
        db = await connect(url)
        await webhooks.record_failure(
            db, Delivery(made[0]["id"], "thread_1", 1, 0), 600, f"cannot reach {CANARY}", rest=600, longest_rest=600
        )
        rows = await db.fetch("SELECT * FROM webhook_work WHERE endpoint_id = $1", made[0]["id"])
        assert [is_sealed(row["secret"]) and is_sealed(row["last_error"]) for row in rows] == [True]
        assert [is_sealed(each) for each in rows[0]["replaced_secrets"]] == [True]
        assert (await client.get(path))["last_error"] == f"cannot reach {CANARY}"
        listed = (await client.get("/webhook_endpoints"))["data"]
        assert [each["last_error"] for each in listed] == [f"cannot reach {CANARY}", None]
        stored = await webhooks.load_secrets(db, made[0]["id"])
        assert stored is not None
        assert stored.all == (rotated["secret"], made[0]["secret"])
        # A secret that is moved to another endpoint does not open.
        await db.execute("UPDATE webhook_work SET secret = $1 WHERE secret <> $1", rows[0]["secret"])
        with pytest.raises(SealBroken):
            await webhooks.load_secrets(db, made[1]["id"])
        await db.close()


@pytest.mark.slow
async def test_an_installation_becomes_encrypted_while_a_server_runs(
    url: str, model: ScriptedServer, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {"search_engine": FakeSearchEngine(), "clock": WallClock(), "encryption": "off"}
    async with serving(url, model, tmp_path, **settings) as client:
        thread_id, assistant_id = await fill(client, model)
        (file,) = (await client.get("/files"))["data"]
        await client.post(f"/files/{file['id']}/links", {"expires_in": 600})
        endpoint = await client.post("/webhook_endpoints", {"url": "https://example.com/", "events": None})
        await client.post(f"/webhook_endpoints/{endpoint['id']}/rotate_secret", {"previous_expires_in": 600})
        request, headers = {"metadata": {"plant": CANARY}}, {"Idempotency-Key": "one"}
        first = await client.call("POST", "/threads", request, headers=headers)
        db = await connect(url)
        secrets = await webhooks.load_secrets(db, endpoint["id"])
        assert await tables_with_canary(db) >= set(TABLES) - {"steps", "streams"}
        leaves = await db.fetch("SELECT stream_id, version, commitment, leaf FROM events ORDER BY 1, 2")
        source = EncryptionKeySource(folder=tmp_path / "audit")
        await begin_encryption(db, source, await read_keys(source))
        # The server has a head in memory, and does not know yet: its append is refused, and made again encrypted.
        await client.post(f"/threads/{thread_id}/messages", {"role": "user", "content": "More"})
        more = await client.post("/threads", {"messages": [{"role": "user", "content": CANARY}]})
        contents = await db.fetch("SELECT key_id FROM events WHERE stream_id = $1", more["id"])
        assert all(row["key_id"] is not None for row in contents)
        state = await read_state(db)
        assert (state.epoch, state.older_keys) == (1, 0)
        assert state.plain_streams > 2
        async for _ in encrypt_streams(db):
            break  # the command is broken off
        assert (await read_state(db)).plain_streams == state.plain_streams - 1
        assert sum([done async for done in encrypt_streams(db)]) == state.plain_streams - 1
        assert (await read_state(db)).plain_streams == 0
        assert await tables_with_canary(db) == set()
        assert await count_plain_rows(db) == sum([done async for done in encrypt_rows(db)]) == 3
        assert await count_plain_rows(db) == 0
        later, store = CLOCK.now() + timedelta(days=1), FolderBlobs(tmp_path / "blobs")
        blobs = SealedBlobs(store, lambda: nullcontext(db))
        late = await upload(client, TEXT)
        assert TEXT not in b"".join(path.read_bytes() for path in (tmp_path / "blobs").iterdir()), "since the beginning"
        assert await count_plain_blobs(blobs, later) == sum([done async for done in encrypt_blobs(blobs, later)]) == 1
        assert await count_plain_blobs(blobs, later) == 0
        assert (await download(client, file["id"]))[:2] == (200, b"Hello.")
        assert (await download(client, late["id"]))[:2] == (200, TEXT)
        assert (await verify_installation(url, store, Scope(processes=1), lambda _: None)).faults == []
        await client.delete(f"/files/{late['id']}")
        keys = "SELECT stream_id FROM stream_keys WHERE stream_id LIKE 'blob:%'"
        assert [row["stream_id"] for row in await db.fetch(keys)] == [name_of(file["id"])]
        for row in await db.fetch("SELECT secret FROM signing_keys UNION ALL SELECT secret FROM webhook_work"):
            assert is_sealed(row["secret"])
        assert await webhooks.load_secrets(db, endpoint["id"]) == secrets
        again = await client.call("POST", "/threads", request, headers=headers)
        assert (again.status, again.body) == (200, first.body)
        last = (await client.get(f"/threads/{thread_id}/messages"))["data"][0]
        await client.delete(f"/threads/{thread_id}/messages/{last['id']}")
        await check_texts(client, thread_id, assistant_id)
        same = await db.fetch("SELECT stream_id, version, commitment, leaf FROM events ORDER BY 1, 2")
        assert set(leaves) <= set(same)
        assert await faults_of(url) == []
        await db.close()


@pytest.mark.slow
async def test_a_rotation_wraps_the_keys_anew_and_no_event(url: str, model: ScriptedServer, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"search_engine": FakeSearchEngine(), "clock": WallClock(), "encryption": "on"}
    source = EncryptionKeySource(folder=tmp_path / "audit")
    async with serving(url, model, tmp_path, **settings) as client:
        thread_id, assistant_id = await fill(client, model)
        db = await connect(url)
        events = await db.fetch("SELECT stream_id, version, content FROM events ORDER BY 1, 2")
        await begin_rotation(db, source, await read_keys(source))
        count = (await read_state(db)).older_keys
        assert count > 2
        await begin_rotation(db, source, await read_keys(source))  # the command is repeated before it was complete
        assert (await read_state(db)).epoch == 2
        assert sum([done async for done in wrap_again(db)]) == count
        assert (await read_state(db)).older_keys == 0
        assert await db.fetch("SELECT stream_id, version, content FROM events ORDER BY 1, 2") == events
        await check_texts(client, thread_id, assistant_id)
        newest = source.path.read_bytes().split()[-1]
        assert len(source.path.read_bytes().split()) == 2
        source.path.write_bytes(newest + b"\n")  # the old key is destroyed
        await db.close()
    async with serving(url, model, tmp_path, **settings) as client:
        await check_texts(client, thread_id, assistant_id)
    assert await faults_of(url) == []


@pytest.mark.slow
async def test_a_moved_body_is_not_served_and_is_a_fault(url: str, model: ScriptedServer, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"search_engine": FakeSearchEngine(), "clock": WallClock(), "encryption": "on"}
    async with serving(url, model, tmp_path, **settings) as client:
        thread = await client.post(
            "/threads", {"messages": [{"role": "user", "content": "Yes"}, {"role": "user", "content": "No"}]}
        )
        pool = await open_pool(url)
        await pool.execute(
            "UPDATE messages SET body = other.body FROM messages AS other "
            "WHERE messages.thread_id = $1 AND other.thread_id = $1 AND messages.position < other.position",
            thread["id"],
        )
        answer = await client.call("GET", f"/threads/{thread['id']}/messages")
        assert answer.status == 500
        assert [fault.endswith("of messages was changed") for fault in await faults_of(url)] == [True]
        await pool.execute("UPDATE events SET content = overlay(content PLACING '\\x00' FROM 60) WHERE version = 2")
        faults = await faults_of(url)
        assert faults
        assert all("the content was changed" in fault for fault in faults)
        pool.terminate()


async def test_the_sources_of_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "audit"
    own = EncryptionKeySource(folder=folder)
    assert await load_keys(own) == []
    first, second = add_key(own), add_key(own)
    assert await load_keys(own) == [first, second]
    listed = own.path.read_text()
    assert await load_keys(EncryptionKeySource(folder=folder, file=own.path)) == [first, second]
    assert await load_keys(EncryptionKeySource(folder=folder, keys=listed)) == [first, second]
    monkeypatch.setenv("EVERTHREAD_API_KEY", "secret")
    command = EncryptionKeySource(folder=folder, command=f"sh -c 'test -z \"$EVERTHREAD_API_KEY\" && cat {own.path}'")
    assert await load_keys(command) == [first, second]
    assert "secret" not in repr(EncryptionKeySource(folder=folder, keys="secret"))
    for wrong in (b"", b"not base64!", b"c2hvcnQ="):
        with pytest.raises(StartupError, match="EVERTHREAD_KEY must hold keys of 32 bytes in base64"):
            parse_keys(wrong, "EVERTHREAD_KEY")
    for command_line, why in (
        ("false", "ended with 1"),
        ("/missing", "cannot be started"),
        ("'", "not a command line"),
    ):
        with pytest.raises(StartupError, match=why):
            await load_keys(EncryptionKeySource(folder=folder, command=command_line))
    with pytest.raises(StartupError, match="Cannot read the encryption keys"):
        await load_keys(EncryptionKeySource(folder=folder, file=tmp_path / "missing"))


def test_a_wrapped_key_opens_under_its_name_alone() -> None:
    ring, secret = KeyRing(), new_secret()
    ring.add([secret])
    data_key = os.urandom(32)
    wrapped = ring.wrap(id_of(secret), data_key, "thread_1")
    assert ring.unwrap(id_of(secret), wrapped, "thread_1") == data_key
    with pytest.raises(ValueError, match="was changed"):
        ring.unwrap(id_of(secret), wrapped, "thread_2")
    with pytest.raises(KeyMissing):
        KeyRing().unwrap(id_of(secret), wrapped, "thread_1")


async def test_a_plain_database_has_no_keys_to_rotate(url: str, tmp_path: Path) -> None:
    from service.migrations import prepare_database

    await prepare_database(url)
    db = await connect(url)
    source = EncryptionKeySource(folder=tmp_path)
    with pytest.raises(CommandError, match="not encrypted"):
        await begin_rotation(db, source, [])
    keys = EncryptionKeySource(folder=tmp_path, keys="x")
    secrets = [new_secret()]
    ring = KeyRing()
    ring.add(secrets)
    await begin_encryption(db, keys, secrets, ring=ring)
    with pytest.raises(CommandError, match="The last key is in use already"):
        await begin_rotation(db, keys, secrets, ring=ring)
    await db.close()
