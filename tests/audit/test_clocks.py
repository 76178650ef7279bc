"""Clocks of processes that differ and jump back give no fault: neither the log nor verification relies on times."""

from __future__ import annotations

from datetime import datetime, timedelta
from random import Random

import pytest

from events.actors import ProcessActor
from events.clock import Clock
from events.envelope import Origin
from events.installation import INSTALLATION_PROJECT, CreateInstallation, RecordStart
from service.audit.acts import write_installation
from service.audit.sequencer import seal_batch
from service.database import Pool
from sql.connection import Connection
from tests.audit.appends import GrowingThread, check_log
from tests.audit.test_sequencer import seal_all
from tests.audit.test_verification import verify
from tests.clock import CLOCK
from tests.events.thread.story import add
from tests.http.keys import writer
from tests.projections.helpers import ORIGIN, make_thread

APPENDS = 60


class JumpingClock(Clock):
    """A clock that jumps up to an hour forward or back each time that it is read."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._start = CLOCK.now()

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self._random.uniform(-3600, 3600))


@pytest.mark.parametrize("seed", range(3))
async def test_clocks_of_writers_jump(seed: int, pool: Pool, db: Connection, database_url: str) -> None:
    """Three processes append to the same streams by turns, before and after the log has the events before."""
    random = Random(seed)
    writers = [writer(pool, JumpingClock(random)) for _ in range(3)]
    origin = Origin(INSTALLATION_PROJECT, ProcessActor(1))
    await write_installation(writers[0], origin, CreateInstallation("one"))
    for number in range(4):
        await make_thread(random.choice(writers), f"thread_{number}")
    for number in range(APPENDS):
        process = random.choice(writers)
        await process.thread(ORIGIN, f"thread_{random.randrange(4)}", add("Hi", f"msg_of_{number}"))
        if random.random() < 0.2:
            await write_installation(process, origin, RecordStart({}))
        if random.random() < 0.2:
            await seal_batch(db, limit=random.choice((1, 5)))
        if number % 20 == 0:
            assert await verify(database_url) == []
    await seal_all(db)
    assert await verify(database_url) == []
    assert await check_log(db) > APPENDS


@pytest.mark.parametrize("seed", range(3))
async def test_times_within_a_stream_go_back(seed: int, pool: Pool, db: Connection, database_url: str) -> None:
    """Appends by hand, whose events have earlier times than those before them, as older software could write them."""
    random = Random(seed)
    clock, threads = JumpingClock(random), [GrowingThread(f"thread_{number}") for number in range(3)]
    for number in range(APPENDS):
        await random.choice(threads).grow(db, clock.now(), messages=random.choice((1, 1, 3)))
        if random.random() < 0.2:
            await seal_batch(db, limit=random.choice((1, 5)))
        if number % 20 == 0:
            assert await verify(database_url) == []
    await seal_all(db)
    assert await verify(database_url) == []
    assert await check_log(db) >= APPENDS
