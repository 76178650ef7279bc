"""The follower counts each model call of the log once, whichever processes work, and whenever they die."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from events.actors import CommandLineActor, KeyActor, TokenActor
from events.thread.commands import DeleteThread
from projections import usage
from projections.usage import Group, UsageFilter, UsageSum
from service.database import Pool
from service.usage import follower
from service.usage.follower import UsageFollower
from sql.connection import Connection
from tests.audit.sealing import seal
from tests.events.thread.story import add, break_call, claim, finish, run, start, submit
from tests.projections.helpers import ORIGIN, OTHER, make_thread, writer

ALWAYS = UsageFilter(since=datetime(2000, 1, 1, tzinfo=UTC), until=datetime(3000, 1, 1, tzinfo=UTC))
EMPTY = UsageSum(
    start=0,
    project_id=None,
    key_id=None,
    model=None,
    assistant_id=None,
    thread_id=None,
    run_id=None,
    input_tokens=0,
    cached_tokens=0,
    output_tokens=0,
    calls=0,
)
CENTURY_S = 100 * 366 * 86_400


async def run_thread(pool: Pool, id: str, actor: Any = None, origin: Any = ORIGIN) -> None:
    """A thread whose run makes two calls of 10 (2 of them cached) and 5 tokens."""
    write = writer(pool)
    await make_thread(write, id, origin=origin)
    await write.thread(origin, id, add("one"))
    by = replace(origin, actor=actor or CommandLineActor())
    await write.thread(by, id, run(claim=claim()))
    await write.thread(origin, id, finish("", "call_1"))
    await write.thread(by, id, submit("call_1", claim=claim(first="2")))
    await write.thread(origin, id, finish("Done.", epoch=2))


async def sums(db: Connection, *groups: Group, only: UsageFilter = ALWAYS) -> list[UsageSum]:
    found = await usage.report(db, only, step_s=CENTURY_S, groups=groups)
    return [replace(entry, start=0) for entry in found]


def two_calls(times: int = 1, **facts: str) -> UsageSum:
    counts = {"input_tokens": 20, "cached_tokens": 4, "output_tokens": 10, "calls": 2}
    return replace(EMPTY, **{name: count * times for name, count in counts.items()}, **facts)  # type: ignore[arg-type]


async def test_calls_are_summed_by_the_groups_of_their_run(pool: Pool, db: Connection) -> None:
    await run_thread(pool, "thread_1", KeyActor("key_1"))
    await run_thread(pool, "thread_2", TokenActor("key_1"))
    await run_thread(pool, "thread_3", origin=OTHER)
    await seal(db)
    await UsageFollower(pool).scan()
    assert await sums(db) == [two_calls(3)]
    assert await sums(db, "project_id") == [two_calls(2, project_id="proj_1"), two_calls(project_id="proj_2")]
    assert await sums(db, "api_key_id") == [two_calls(2, key_id="key_1"), two_calls()]
    assert await sums(db, "model", "assistant_id") == [two_calls(3, model="gpt-test", assistant_id="asst_1")]
    assert len(await sums(db, "run_id")) == 3
    assert await sums(db, only=replace(ALWAYS, projects=["proj_2"])) == [two_calls()]
    assert await sums(db, only=replace(ALWAYS, keys=["key_1"], models=["gpt-test"])) == [two_calls(2)]
    assert await sums(db, only=replace(ALWAYS, until=ALWAYS.since)) == []


async def test_a_failed_call_counts_the_tokens_that_came(pool: Pool, db: Connection) -> None:
    write = writer(pool)
    await make_thread(write, "thread_1")
    await write.thread(ORIGIN, "thread_1", add("one"))
    await write.thread(ORIGIN, "thread_1", run(claim=claim()))
    await write.thread(ORIGIN, "thread_1", break_call("A part"))
    await write.thread(ORIGIN, "thread_1", start("2"))
    await write.thread(ORIGIN, "thread_1", break_call())  # without a token
    await seal(db)
    await UsageFollower(pool).scan()
    assert [entry.calls for entry in await sums(db)] == [1]


async def test_a_deleted_thread_stays_counted(pool: Pool, db: Connection) -> None:
    await run_thread(pool, "thread_1")
    await writer(pool).thread(ORIGIN, "thread_1", DeleteThread())
    await seal(db)
    await UsageFollower(pool).scan()
    assert await sums(db) == [two_calls()]


async def test_pages_processes_and_crashes_count_nothing_twice(pool: Pool, db: Connection, monkeypatch: Any) -> None:
    monkeypatch.setattr(follower, "PAGE_RANGES", 1)
    for number in range(4):
        await run_thread(pool, f"thread_{number}")
        await seal(db)
        transaction = db.transaction()
        await transaction.start()
        await usage.FOLLOWER.follow(db, 3)
        await UsageFollower(pool).scan()  # does nothing: another process is at it
        await transaction.rollback()  # that process dies
        await asyncio.gather(*(UsageFollower(pool).scan() for _ in range(3)))
        await UsageFollower(pool).scan()
        assert await sums(db) == [two_calls(number + 1)]


async def test_a_follower_may_wait_for_the_process_that_is_at_work(pool: Pool, db: Connection) -> None:
    await run_thread(pool, "thread_1")
    await seal(db)
    async with pool.acquire() as other:
        transaction = db.transaction()
        await transaction.start()
        await usage.FOLLOWER.follow(db, 1)

        async def work() -> bool:
            async with other.transaction():
                return await usage.FOLLOWER.follow(other, 100, waits=True)

        waiting = asyncio.create_task(work())
        while not await pool.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            await asyncio.sleep(0)
        await transaction.commit()
        assert not await waiting
    assert await sums(db) == [two_calls()]


async def test_a_restored_log_is_counted_again(pool: Pool, db: Connection) -> None:
    await run_thread(pool, "thread_1")
    await seal(db)
    await UsageFollower(pool).scan()
    await db.execute("UPDATE usage_calls SET input_tokens = 999")
    await db.execute("INSERT INTO log_epochs SELECT epoch + 1, origin || 'x', first_index FROM log_epochs")
    await UsageFollower(pool).scan()
    assert await sums(db) == [two_calls()]


def test_the_types_are_those_of_the_rows() -> None:
    names: Collection[str] = usage.TYPES
    assert set(names) == {"run.created", "model_call.finished", "model_call.failed", "model_call.stopped"}
