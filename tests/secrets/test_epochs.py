"""The beginning of epochs by several processes at once, beside other transactions, and with keys that are missing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from structlog.testing import capture_logs

from events.event_log import ENCRYPTED_EPOCHS
from projections import webhooks
from service.cli.admin import open_writer
from service.database import connect
from service.errors import StartupError
from service.migrations import _apply
from service.secrets import encryption
from service.secrets.encryption import begin_encryption, begin_rotation, prepare_encryption, read_keys
from service.secrets.key_ring import KeyMissing, KeyRing, id_of, new_secret
from service.secrets.key_source import EncryptionKeySource, add_key, load_keys
from service.secrets.stream_keys import StreamKeys
from service.settings import Settings
from sql import Migration, migrations, queries, table_changes
from sql.connection import Connection, key_store
from sql.row_operations import EPOCH_CONSTRAINT
from sql.seals import is_sealed
from tests.fixtures.postgres import empty_database


@pytest.fixture
async def plain_url(postgres: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """A migrated database that is not encrypted; the keys are those of data directories."""
    from service.migrations import prepare_database

    monkeypatch.delenv("EVERTHREAD_KEY", raising=False)
    async with empty_database(postgres) as url:
        await prepare_database(url)
        yield url


@pytest.fixture
async def plain(plain_url: str) -> AsyncIterator[Connection]:
    db = await connect(plain_url)
    yield db
    await db.close()


async def key_ids(db: Connection) -> list[str]:
    return [row["key_id"] for row in await db.fetch("SELECT key_id FROM encryption_epochs ORDER BY epoch")]


async def start(url: str, folder: Path, barrier: asyncio.Barrier) -> KeyRing:
    """Does what the start of a server does, at the same time as another one. Returns the ring of its keys."""
    ring, source = KeyRing(), EncryptionKeySource(folder=folder)
    keys = await read_keys(source, ring=ring)
    db = await connect(url)
    try:
        await barrier.wait()
        await prepare_encryption(db, source, keys, wants_encryption=True, ring=ring)
    finally:
        await db.close()
    return ring


async def test_two_first_servers_of_one_directory_begin_one_epoch(
    plain_url: str, plain: Connection, tmp_path: Path
) -> None:
    barrier = asyncio.Barrier(2)
    rings = await asyncio.gather(*(start(plain_url, tmp_path, barrier) for _ in range(2)))
    (key_id,) = await key_ids(plain)
    assert all(key_id in ring for ring in rings)
    assert [id_of(key) for key in await load_keys(EncryptionKeySource(folder=tmp_path))] == [key_id]


async def test_the_second_first_server_of_another_directory_refuses_to_start(
    plain_url: str, plain: Connection, tmp_path: Path
) -> None:
    barrier = asyncio.Barrier(2)
    folders = tmp_path / "a", tmp_path / "b"
    results = await asyncio.gather(*(start(plain_url, folder, barrier) for folder in folders), return_exceptions=True)
    (key_id,) = await key_ids(plain)
    assert {type(result) for result in results} == {KeyRing, KeyMissing}
    made = [await load_keys(EncryptionKeySource(folder=folder)) for folder in folders]
    assert [[id_of(key) for key in keys] for keys in made if keys] == [[key_id]]


async def test_a_process_that_was_idle_since_then_writes_no_plain_secret(
    plain_url: str, plain: Connection, tmp_path: Path
) -> None:
    idle = await connect(plain_url)
    await webhooks.prepare_secret(idle, "we_0", "whsec_before")
    await begin_encryption(plain, EncryptionKeySource(folder=tmp_path), [new_secret()])
    await webhooks.prepare_secret(idle, "we_1", "whsec_after")
    query = "SELECT secret FROM webhook_work ORDER BY endpoint_id"
    assert [is_sealed(row["secret"]) for row in await plain.fetch(query)] == [False, True]
    await idle.close()


async def test_two_rotations_at_once_lose_no_key(plain_url: str, plain: Connection, tmp_path: Path) -> None:
    ring, source = KeyRing(), EncryptionKeySource(folder=tmp_path)
    await begin_encryption(plain, source, await read_keys(source, ring=ring), ring=ring)
    other = await connect(plain_url)
    await asyncio.gather(*(begin_rotation(db, source, [], ring=ring) for db in (plain, other)))
    await other.close()
    assert [id_of(key) for key in await load_keys(source)] == await key_ids(plain)


async def test_keys_that_are_added_at_once_are_all_in_the_file(tmp_path: Path) -> None:
    source = EncryptionKeySource(folder=tmp_path)
    added = await asyncio.gather(*(asyncio.to_thread(add_key, source) for _ in range(8)))
    assert sorted(await load_keys(source)) == sorted(added)


async def test_the_beginning_waits_briefly_for_locks(
    plain_url: str, plain: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(queries("migrations"), "limit_lock_wait", "SET LOCAL lock_timeout = '50ms'")
    monkeypatch.setattr(table_changes, "LOCK_PAUSE_S", 0.05)
    reader, source, ring = await connect(plain_url), EncryptionKeySource(folder=tmp_path), KeyRing()
    reading = reader.transaction()
    await reading.start()
    await reader.execute("SELECT FROM streams")
    with capture_logs() as logs:
        task = asyncio.create_task(begin_encryption(plain, source, [], ring=ring))
        async with asyncio.timeout(60):
            while not any(entry["event"] == "encryption_waits" for entry in logs):
                await asyncio.sleep(0.01)
        assert not task.done()
        await reading.rollback()
        await task
    (key_id,) = await key_ids(plain)
    assert [id_of(key) for key in await load_keys(source)] == [key_id]
    await reader.close()


async def test_the_beginning_gives_up_if_a_transaction_does_not_end(
    plain_url: str, plain: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(queries("migrations"), "limit_lock_wait", "SET LOCAL lock_timeout = '50ms'")
    monkeypatch.setattr(encryption, "LOCK_WAIT_S", 0.0)
    reader = await connect(plain_url)
    async with reader.transaction():
        await reader.execute("SELECT FROM streams")
        with pytest.raises(StartupError, match="held its tables"):
            await begin_encryption(plain, EncryptionKeySource(folder=tmp_path), [], ring=KeyRing())
    await reader.close()
    assert await key_ids(plain) == []


async def test_an_older_key_that_still_wraps_keys_of_streams_is_needed(plain: Connection, tmp_path: Path) -> None:
    source, older, newer = EncryptionKeySource(folder=tmp_path, keys="x"), new_secret(), new_secret()
    ring = KeyRing()
    ring.add([older, newer])
    await begin_encryption(plain, source, [older], ring=ring)
    writing = await StreamKeys(ring).for_writing(plain, "thread_1", is_new=True)
    assert writing is not None
    assert writing.operation is not None
    await plain.execute(queries("stream_keys")["add"], *writing.operation.values)
    await begin_rotation(plain, source, [newer], ring=ring)
    ring = KeyRing()
    ring.add([newer])
    with pytest.raises(KeyMissing, match=id_of(older)):
        await prepare_encryption(plain, source, [newer], wants_encryption=True, ring=ring)
    with pytest.raises(KeyMissing, match=id_of(older)):
        await StreamKeys(ring).check(plain)
    await plain.execute("UPDATE stream_keys SET epoch = 2")
    await prepare_encryption(plain, source, [newer], wants_encryption=True, ring=ring)


async def test_a_command_that_writes_first_encrypts_a_new_database(
    plain_url: str, plain: Connection, tmp_path: Path
) -> None:
    settings = Settings.load(database_url=plain_url, data_dir=tmp_path, encryption="on")
    for _ in range(2):
        async with open_writer(settings) as writer, writer.pool.acquire() as db:
            assert await writer.pool.fetchval("SELECT count(*) FROM encryption_epochs") == 1
            store = key_store(db)
            assert store is not None
            assert await store.is_on(db)
    assert [id_of(key) for key in await load_keys(EncryptionKeySource(folder=tmp_path / "audit"))] == await key_ids(
        plain
    )


async def test_a_migration_that_raises_the_epoch_keeps_the_bound_of_an_encrypted_database(
    plain: Connection, tmp_path: Path
) -> None:
    async def bound() -> str:
        return str(
            await plain.fetchval(
                "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'streams_view_epoch'"
            )
        )

    await _apply(plain, Migration("9998_epoch.sql", "SELECT pg_temp.raise_view_epoch(1)", ""))
    assert ">= 1)" in await bound()
    await begin_encryption(plain, EncryptionKeySource(folder=tmp_path), [], ring=KeyRing())
    assert f">= {ENCRYPTED_EPOCHS + 1})" in await bound()
    await _apply(plain, Migration("9999_epoch.sql", "SELECT pg_temp.raise_view_epoch(2)", ""))
    assert f">= {ENCRYPTED_EPOCHS + 2})" in await bound()
    with pytest.raises(asyncpg.RaiseError, match="is lower"):
        await _apply(plain, Migration("9997_epoch.sql", "SELECT pg_temp.raise_view_epoch(1)", ""))


def test_no_migration_changes_the_bound_by_itself() -> None:
    names = [migration.name for migration in migrations() if EPOCH_CONSTRAINT in migration.text]
    assert names == ["0019_view_generations.sql"]
