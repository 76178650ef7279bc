"""Epochs of key-encryption keys: what they wrap is wrapped again, old ones are destroyed, also if a process dies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from events import event_log
from events.key_epochs import KeyEpochBegun, KeyEpochDestroyed
from service.audit.verification import Scope, verify_installation
from service.database import Pool, connect, open_pool
from service.erasure import key_epochs
from service.erasure.key_epochs import EpochRules, KeyEpochs
from service.migrations import prepare_database
from service.secrets import encryption
from service.secrets.encryption import begin_encryption, read_epochs
from service.secrets.key_ring import RING, KeyMissing, KeyRing, id_of, new_secret
from service.secrets.key_source import EncryptionKeySource, add_key, load_keys, remove_key
from service.secrets.stream_keys import StreamKeys, name_of
from tests.erasure.test_eraser import Death, breaking
from tests.fixtures.postgres import empty_database
from tests.projections.helpers import make_thread, writer

RULES = EpochRules(epoch_days=7, term_days=35, makes_keys=True)


class Database:
    """An encrypted database whose key is in a data directory, and the epochs of one process."""

    def __init__(self, url: str, pool: Pool, folder: Path) -> None:
        self.url, self.pool, self.write = url, pool, writer(pool)
        self.source = EncryptionKeySource(folder=folder)
        self.epochs = KeyEpochs(self.write, self.source, RULES, process=7)

    async def fetch(self, query: str, *values: Any) -> Any:
        async with self.pool.acquire() as db:
            return await db.fetchval(query, *values)

    async def age(self, days: int) -> None:
        """Lets days pass: the epochs are older by them."""
        await self.fetch("UPDATE encryption_epochs SET began_at = began_at - $1 * interval '1 day'", days)

    async def given(self) -> list[str]:
        """The ids of the keys in the file."""
        return [id_of(key) for key in await load_keys(self.source)]

    async def state(self) -> list[tuple[int, str, bool, bool]]:
        """Epochs with their keys, whether they wrap any, and whether they are destroyed."""
        async with self.pool.acquire() as db:
            return [
                (each.epoch, each.key_id, each.wrapped > 0, each.destroyed_at is not None)
                for each in await read_epochs(db)
            ]

    async def told(self) -> list[str]:
        async with self.pool.acquire() as db:
            events = [one.event for one in await event_log.read(db, "installation")]
        return [
            f"{event.type} {event.epoch}" for event in events if isinstance(event, KeyEpochBegun | KeyEpochDestroyed)
        ]

    async def readable(self, thread_id: str) -> int:
        """The number of events that a process reads which has only the keys of the file."""
        ring = KeyRing()
        ring.add(await load_keys(self.source))
        async with self.pool.acquire() as db:
            return len(await StreamKeys(ring).find(db, [thread_id]))


@pytest.fixture
async def database(postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Database]:
    monkeypatch.delenv("EVERTHREAD_KEY", raising=False)
    async with empty_database(postgres) as url:
        await prepare_database(url)
        db = await connect(url)
        source = EncryptionKeySource(folder=tmp_path)
        await begin_encryption(db, source, [], ring=RING)
        await db.close()
        pool = await open_pool(url)
        made = Database(url, pool, tmp_path)
        await make_thread(made.write, "thread_1", "Hello.")
        yield made
        pool.terminate()


async def test_an_epoch_begins_after_a_week_and_its_key_ends_after_the_term(database: Database) -> None:
    await database.epochs.scan()
    [first] = await database.given()
    assert await database.state() == [(1, first, True, False)]
    await database.age(7)
    await database.epochs.scan()
    _, second = await database.given()
    assert await database.state() == [(1, first, False, False), (2, second, True, False)]
    await database.epochs.scan()
    assert len(await database.given()) == 2
    # The term is counted from the end of the epoch, not from its beginning.
    await database.age(34)
    await database.epochs.scan()
    _, _, third = await database.given()
    await database.age(1)
    await database.epochs.scan()
    assert await database.given() == [second, third]
    assert first not in RING
    assert await database.readable("thread_1") == 1
    assert await database.told() == [
        "key_epoch.begun 1",
        "key_epoch.begun 2",
        "key_epoch.begun 3",
        "key_epoch.destroyed 1",
    ]


async def test_a_backup_from_before_cannot_be_read_after_the_term(database: Database) -> None:
    wrapped = await database.fetch("SELECT wrapped FROM stream_keys WHERE stream_id = 'thread_1'")
    for days in (7, 35):
        await database.age(days)
        await database.epochs.scan()
    await database.fetch("UPDATE stream_keys SET wrapped = $1, epoch = 1 WHERE stream_id = 'thread_1'", wrapped)
    with pytest.raises(KeyMissing):
        await database.readable("thread_1")


async def test_a_key_that_wraps_anything_is_not_destroyed(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    await database.age(7)
    await database.epochs.scan()
    first, _ = await database.given()
    # A key that a process stored under the first epoch, which it still had in its memory.
    key_id, secret = "0" * 32, new_secret()
    wrapped = RING.wrap(first, secret, name_of("thread_late", key_id))
    await database.fetch("INSERT INTO stream_keys VALUES ('thread_late', $1, 1, $2)", key_id, wrapped)
    await database.age(35)
    with monkeypatch.context() as broken:
        broken.setattr(key_epochs, "wrap_again", _wrap_none)
        await database.epochs.scan()
    assert first in await database.given()
    await database.epochs.scan()
    assert first not in await database.given()
    assert await database.readable("thread_late") == 1


async def _wrap_none(*_: Any, **__: Any) -> AsyncIterator[int]:
    for count in list[int]():
        yield count


STEPS: Sequence[tuple[Any, str]] = (
    (key_epochs, "begin_epoch"),
    (encryption, "_make_key"),
    (KeyEpochs, "_announce"),
    (key_epochs, "write_installation"),
    (KeyEpochs, "_destroy"),
)


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize(("owner", "name"), STEPS)
async def test_every_step_is_repeated_after_a_crash(
    database: Database, owner: Any, name: str, before: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    await database.epochs.scan()
    with monkeypatch.context() as broken:
        whole = getattr(owner, name)
        if name == "_make_key":
            broken.setattr(owner, name, _dying(whole, before=before))
        else:
            broken.setattr(owner, name, breaking(whole, before=before))
        await database.age(7)
        with pytest.raises(Death):
            await database.epochs.scan()
    await _complete(database)


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize(("owner", "name"), [(key_epochs, "remove_key"), (key_epochs, "write_installation")])
async def test_a_destruction_is_repeated_after_a_crash(
    database: Database, owner: Any, name: str, before: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    await database.age(7)
    await database.epochs.scan()
    first, _ = await database.given()
    # The newest epoch is not due: the next event is that of the destruction.
    await database.fetch("UPDATE encryption_epochs SET began_at = began_at - interval '6 days'")
    rules = EpochRules(epoch_days=7, term_days=5, makes_keys=True)
    epochs = KeyEpochs(database.write, database.source, rules, process=7)
    with monkeypatch.context() as broken:
        whole = getattr(owner, name)
        broken.setattr(owner, name, (_dying if name == "remove_key" else breaking)(whole, before=before))
        with pytest.raises(Death):
            await epochs.scan()
    await epochs.scan()
    assert first not in await database.given()
    assert [each[3] for each in await database.state()] == [True, False]
    assert set(await database.told()) == {"key_epoch.begun 1", "key_epoch.begun 2", "key_epoch.destroyed 1"}
    assert await database.readable("thread_1") == 1


async def _complete(database: Database) -> None:
    """Scans until the first key is destroyed, and checks that all can be read."""
    for days in (0, 35, 0):
        await database.age(days)
        await database.epochs.scan()
    state = await database.state()
    assert (state[0][3], state[-1][2], state[-1][3]) == (True, True, False)
    assert state[0][1] not in await database.given()
    assert await database.readable("thread_1") == 1
    progress = await verify_installation(database.url, None, Scope(), lambda _: None)
    assert progress.faults == []


def _dying(whole: Any, *, before: bool) -> Any:
    def die(*values: Any) -> Any:
        if not before:
            whole(*values)
        raise Death

    return die


async def test_several_processes_begin_one_epoch(database: Database) -> None:
    await database.age(7)
    others = [KeyEpochs(database.write, database.source, RULES, process=number) for number in range(8)]
    await asyncio.gather(*(other.scan() for other in others))
    await database.epochs.scan()
    assert [each[0] for each in await database.state()] == [1, 2]
    assert len(await database.given()) == 2
    assert await database.told() == ["key_epoch.begun 1", "key_epoch.begun 2"]


async def test_keys_of_an_operator_are_neither_made_nor_removed(database: Database, tmp_path: Path) -> None:
    source = EncryptionKeySource(folder=tmp_path, file=database.source.path)
    rules = EpochRules(epoch_days=7, term_days=35, makes_keys=False)
    epochs = KeyEpochs(database.write, source, rules, process=7)
    await database.age(70)
    await epochs.scan()
    assert len(await database.given()) == 1
    newest = add_key(database.source)
    RING.add([newest])
    await database.fetch("INSERT INTO encryption_epochs VALUES (2, $1)", id_of(newest))  # as `rotate` does
    await database.age(35)
    await epochs.scan()
    first, _ = await database.given()
    assert [each[2:] for each in await database.state()] == [(False, False), (True, False)]
    remove_key(database.source, first)
    await epochs.scan()
    assert [each[2:] for each in await database.state()] == [(False, True), (True, False)]
    assert await database.told() == ["key_epoch.begun 1", "key_epoch.begun 2", "key_epoch.destroyed 1"]
