"""The log has every committed event once, without gaps, whatever crashes and whichever sequencers work."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from random import Random

import asyncpg
import pytest

from service.audit import sequencer
from service.audit.sequencer import Sequencer, seal_batch
from service.database import Pool
from service.tasks.background import background
from sql.connection import Connection
from tests.audit.appends import GrowingThread, check_log
from tests.audit.lockstep import Lockstep, Step
from tests.clock import CLOCK
from tests.projections.helpers import make_thread, writer

WAIT_S = 60.0
STATEMENTS = 5  # of a batch


@dataclass
class Processes:
    """The processes that a sequencer takes for alive."""

    process: int = 1
    live: frozenset[int] = frozenset({1})

    async def refresh(self, db: Connection) -> frozenset[int]:
        return self.live


async def seal_all(db: Connection) -> None:
    """Seals what waits, without a crash."""
    for _ in range(10):
        if (await seal_batch(db)).is_last and not await db.fetchval("SELECT count(*) FROM log_pending"):
            return
    raise AssertionError("appends are left")


async def sealed(db: Connection, size: int) -> None:
    """Waits until the log has so many events."""
    async with asyncio.timeout(WAIT_S):
        while await db.fetchval("SELECT coalesce(sum(count), 0) FROM log_ranges") < size:
            await asyncio.sleep(0)


@pytest.mark.parametrize("step", [Step.CRASH_BEFORE, Step.CRASH_AFTER])
@pytest.mark.parametrize("statement", range(STATEMENTS))
async def test_a_crash_at_every_step_loses_and_repeats_nothing(db: Connection, statement: int, step: Step) -> None:
    first, second = GrowingThread("thread_1"), GrowingThread("thread_2")
    for thread in (first, second, first):
        await thread.grow(db, CLOCK.now(), messages=2)
    dying = Lockstep(db, seal_batch)
    for _ in range(statement):
        assert await dying.advance()
    assert not await dying.advance(step)
    await second.grow(db, CLOCK.now())
    await seal_all(db)
    assert await check_log(db) == 9
    assert await db.fetchval("SELECT count(*) FROM log_pending") == 0


@pytest.mark.parametrize("first", range(STATEMENTS))
async def test_of_two_sequencers_one_is_refused(pool: Pool, db: Connection, first: int) -> None:
    thread = GrowingThread("thread_1")
    await thread.grow(db, CLOCK.now())
    slow = Lockstep(db, seal_batch)
    for _ in range(first):
        await slow.advance()
    async with pool.acquire() as other:
        await thread.grow(other, CLOCK.now())
        await seal_all(other)
    with suppress(asyncpg.UniqueViolationError):
        await slow.finish()
    assert await check_log(db) == 3
    await seal_all(db)
    assert await check_log(db) == 3


@pytest.mark.parametrize("seed", range(12))
async def test_every_interleaving_gives_a_gapless_log(pool: Pool, seed: int) -> None:
    """Writers with clocks that differ and jump, some of whose transactions stay open; sequencers that crash."""
    random = Random(seed)
    start = CLOCK.now()
    async with pool.acquire() as one, pool.acquire() as two, pool.acquire() as three, pool.acquire() as four:
        writers, free = {1: one, 2: two}, [GrowingThread(f"thread_{number}") for number in range(6)]
        open_appends: dict[int, tuple[GrowingThread, asyncpg.transaction.Transaction]] = {}
        sequencers: dict[int, Lockstep] = {}
        for _ in range(250):
            actor = random.choice((1, 2, 3, 3, 4, 4))
            if actor in writers:
                await _write(random, actor, writers[actor], free, open_appends, start)
            else:
                db, limit = (three, four)[actor - 3], random.choice((2, 5, 50))
                if actor not in sequencers:
                    sequencers[actor] = Lockstep(db, partial(seal_batch, limit=limit))
                step = random.choices((Step.RUN, Step.CRASH_BEFORE, Step.CRASH_AFTER), (20, 1, 1))[0]
                try:
                    is_at_work = await sequencers[actor].advance(step)
                except asyncpg.UniqueViolationError:
                    is_at_work = False
                if not is_at_work:
                    del sequencers[actor]
        for thread, transaction in open_appends.values():
            await transaction.commit()
            free.append(thread)
        for left in sequencers.values():
            with suppress(asyncpg.UniqueViolationError):
                await left.finish()
        await seal_all(three)
        assert await check_log(three) > 50


async def _write(
    random: Random,
    number: int,
    db: Connection,
    free: list[GrowingThread],
    open_appends: dict[int, tuple[GrowingThread, asyncpg.transaction.Transaction]],
    start: datetime,
) -> None:
    """Lets a writer append in a transaction, or end its transaction."""
    if number in open_appends:
        thread, transaction = open_appends.pop(number)
        await transaction.commit()
        free.append(thread)
        return
    thread = free.pop(random.randrange(len(free)))
    at = CLOCK.now() if random.random() < 0.5 else start + timedelta(seconds=random.uniform(-3600, 3600))
    transaction = db.transaction()
    await transaction.start()
    await thread.grow(db, at, messages=random.choice((1, 1, 3)))
    open_appends[number] = (thread, transaction)


async def test_appends_are_sealed_while_writers_write(pool: Pool, db: Connection) -> None:
    write = writer(pool)
    at_work = Sequencer(pool, Processes())
    write.feed.listen_to_threads(at_work)
    async with background(at_work.run()):
        await asyncio.gather(*(make_thread(write, f"thread_{number}", *"abc") for number in range(5)))
        await sealed(db, 20)
        assert at_work.lag_s < WAIT_S
    assert await check_log(db) == 20


@pytest.mark.slow
async def test_a_frozen_leader_is_bypassed(pool: Pool, db: Connection) -> None:
    """Process 1 leads and holds its lock, but does nothing."""
    await make_thread(writer(pool), "thread_1", "one")
    at_work = Sequencer(pool, Processes(2, frozenset({1, 2})))
    began = asyncio.get_running_loop().time()
    async with background(at_work.run()):
        await sealed(db, 2)
    assert asyncio.get_running_loop().time() - began >= sequencer.BYPASS_AFTER_S


async def test_a_process_that_does_not_lead_leaves_the_work(pool: Pool, db: Connection) -> None:
    await make_thread(writer(pool), "thread_1", "one")
    other = Sequencer(pool, Processes(2, frozenset({1, 2})))
    await other.scan()
    assert await db.fetchval("SELECT count(*) FROM log_pending") == 2


async def test_events_without_a_row_are_found(pool: Pool, db: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server of the release before, which still works during an upgrade, adds none."""
    write = writer(pool)
    await make_thread(write, "thread_1", "one", "two")
    await db.execute("DELETE FROM log_pending WHERE first_version < 3")
    monkeypatch.setattr(sequencer, "GAP_AFTER_S", 0.0)
    monkeypatch.setattr(sequencer, "FULL_ROUND_S", 0.0)
    at_work = Sequencer(pool, Processes())
    await at_work.scan()
    assert await db.fetchval("SELECT count(*) FROM log_ranges") == 0
    await at_work.scan()
    assert await check_log(db) == 3


async def test_health_reports_events_that_wait_for_long(pool: Pool, db: Connection) -> None:
    await make_thread(writer(pool), "thread_1", "one", "two")
    now = [0.0]
    at_work = Sequencer(pool, Processes(), monotonic=lambda: now[0])
    await at_work.scan()
    assert await at_work.check_health() is None
    now[0] += sequencer.MAX_LAG_S + 1
    assert await at_work.check_health() == "events have waited for 11 s to be sealed in the audit log"
    await at_work.scan()
    assert await at_work.check_health() is None
    counts = await at_work.count(db)
    assert (counts.pending, counts.size) == (0, 3)


async def test_an_event_whose_predecessor_is_missing_stays_visible(pool: Pool, db: Connection) -> None:
    """Somebody deleted an event that was not sealed: /healthz reports it, and other streams go on."""
    await make_thread(writer(pool), "thread_1", "one", "two")
    await make_thread(writer(pool), "thread_2", "one")
    await db.execute("DELETE FROM log_pending WHERE stream_id = 'thread_1' AND first_version = 2")
    await db.execute("DELETE FROM events WHERE stream_id = 'thread_1' AND version = 2")
    now = [0.0]
    at_work = Sequencer(pool, Processes(), monotonic=lambda: now[0])
    for _ in range(10):
        now[0] += sequencer.FULL_ROUND_S
        await at_work.scan()
    assert await at_work.check_health() is not None
    assert await db.fetchval("SELECT sum(count) FROM log_ranges") == 3
