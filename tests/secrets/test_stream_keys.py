"""The keys that a process keeps, beside transactions that may be rolled back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import reduce
from pathlib import Path

import pytest

from events import event_log
from events.event_log import NO_STREAM
from events.streams import THREAD
from projections.append import Append, VersionConflict, append
from service.database import connect
from service.migrations import prepare_database
from service.secrets import stream_keys
from service.secrets.encryption import begin_encryption
from service.secrets.key_ring import KeyRing, new_secret
from service.secrets.key_source import EncryptionKeySource
from service.secrets.stream_keys import StreamKeys
from sql import queries
from sql.connection import Connection
from tests.clock import CLOCK, IDS
from tests.events.thread.story import CREATE
from tests.fixtures.postgres import empty_database
from tests.projections.helpers import ORIGIN

STREAM = "thread_1"
SQL = queries("stream_keys")


@pytest.fixture
async def ring() -> KeyRing:
    made = KeyRing()
    made.add([new_secret()])
    return made


@pytest.fixture
async def db(postgres: str, ring: KeyRing, tmp_path: Path) -> AsyncIterator[Connection]:
    """A connection to an encrypted database."""
    async with empty_database(postgres) as url:
        await prepare_database(url)
        connection = await connect(url)
        await begin_encryption(connection, EncryptionKeySource(folder=tmp_path, keys="x"), ring.secrets(), ring=ring)
        yield connection
        await connection.close()


async def add_key(db: Connection, keys: StreamKeys, stream_id: str = STREAM) -> None:
    """Makes a key of a new stream, and stores its row."""
    writing = await keys.for_writing(db, stream_id, is_new=True)
    assert writing is not None
    assert writing.operation is not None
    await db.execute(SQL["add"], *writing.operation.values)


async def test_a_key_that_is_found_in_its_transaction_is_not_kept(db: Connection, ring: KeyRing) -> None:
    keys = StreamKeys(ring)
    transaction = db.transaction()
    await transaction.start()
    await add_key(db, keys)
    assert STREAM in await keys.find(db, [STREAM])
    assert len(keys) == 0
    await transaction.rollback()
    assert await keys.find(db, [STREAM]) == {}


async def test_an_append_that_loses_does_not_bar_the_key(db: Connection, ring: KeyRing) -> None:
    keys = StreamKeys(ring)
    await add_key(db, StreamKeys(ring))  # by another process, which is faster
    assert await keys.for_writing(db, STREAM, is_new=True) is not None
    assert STREAM in await keys.find(db, [STREAM])
    assert len(keys) == 1
    assert await keys.for_writing(db, STREAM, is_new=True) is not None
    keys.drop_new(STREAM)
    async with db.transaction():
        await keys.find(db, [STREAM])
    assert len(keys) == 1


async def test_an_append_that_conflicts_leaves_no_stream_uncertain(db: Connection, ring: KeyRing) -> None:
    keys = StreamKeys(ring)
    db.key_store = keys  # type: ignore[attr-defined]
    before = THREAD.initial(STREAM)
    events = THREAD.decide(before, CREATE, CLOCK.now())
    recorded = event_log.number_events(STREAM, 0, events, CLOCK.now(), ORIGIN)
    new = Append(
        stream_type=THREAD,
        stream_id=STREAM,
        expected=NO_STREAM,
        recorded=recorded,
        before=before,
        after=reduce(THREAD.evolve, recorded, before),
    )
    await append(db, new, ids=IDS)
    with pytest.raises(VersionConflict):
        await append(db, new, ids=IDS)
    assert len(keys._uncertain) == 0


async def test_the_uncertain_streams_are_bounded(
    db: Connection, ring: KeyRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_keys, "MAX_UNCERTAIN", 2)
    keys = StreamKeys(ring)
    transaction = db.transaction()
    await transaction.start()
    for number in range(5):
        await add_key(db, keys, f"thread_{number}")
    assert len(keys._uncertain) == 2
    # The notes about the first ones were dropped, and still their keys are not kept.
    assert len(await keys.find(db, [f"thread_{number}" for number in range(5)])) == 5
    assert len(keys) == 0
    await transaction.commit()
    await keys.find(db, ["thread_0"])
    assert len(keys) == 1
