"""The pool: a cancellation is not lost while Postgres hangs, requests come first, and a burst is not refused."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, suppress
from typing import Any

import asyncpg
import pytest

from service import database
from service.database import DATABASE_ERRORS, DatabaseBusy, Pool, connection_queue, mark_request, open_pool
from service.database import pool as database_pool
from service.database.connection_queue import ConnectionQueue
from service.processes.scan_loop import ScanLoop


class HangingUse:
    """A use of a connection whose Postgres process stops in it, also while the connection is returned."""

    def __init__(self, pool: Pool, *, in_transaction: bool) -> None:
        self.has_begun = asyncio.Event()
        self._pool = pool
        self._in_transaction = in_transaction
        self._frozen: list[int] = []

    async def use(self) -> None:
        async with self._pool.acquire() as db, AsyncExitStack() as stack:
            if self._in_transaction:
                await stack.enter_async_context(db.transaction())
            self._frozen.append(db.get_server_pid())
            os.kill(self._frozen[-1], signal.SIGSTOP)
            asyncio.get_running_loop().call_later(0.01, self.has_begun.set)
            await db.fetchval("SELECT 1")

    def resume(self) -> None:
        for pid in self._frozen:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


@pytest.fixture
async def quick_pool(database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Pool]:
    monkeypatch.setattr(database_pool, "RESET_TIMEOUT", 0.05)
    monkeypatch.setattr(database, "COMMAND_TIMEOUT", 0.5)  # of the rollback, and of asyncpg's own requests to cancel
    pool = await open_pool(database_url)
    yield pool
    pool.terminate()


@pytest.mark.parametrize("in_transaction", [False, True])
async def test_a_scan_that_hangs_in_postgres_ends_when_it_is_cancelled(quick_pool: Pool, in_transaction: bool) -> None:
    """The scan alone would be tried again after an error of the database."""
    hanging = HangingUse(quick_pool, in_transaction=in_transaction)
    task = asyncio.create_task(ScanLoop("test", every_s=60.0, retry_s=60.0).run(hanging.use))
    try:
        await hanging.has_begun.wait()
        task.cancel()
        await asyncio.wait({task}, timeout=8)
        assert task.cancelled()
    finally:
        hanging.resume()
        task.cancel()


async def test_a_connection_serves_others_after_a_cancelled_query(pool: Pool) -> None:
    async def sleep() -> None:
        async with pool.acquire() as db:
            await db.execute("SELECT pg_sleep(60)")

    async with pool.acquire() as watching:
        task = asyncio.create_task(sleep())
        while not await watching.fetchval("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
        async with pool.acquire() as db:
            assert await db.fetchval("SELECT 1") == 1
        assert pool.size == 2


async def test_a_connection_is_returned_without_its_transaction(pool: Pool) -> None:
    async with pool.acquire() as db:
        await db.execute("BEGIN")
    async with pool.acquire() as db:
        assert not db.is_in_transaction()


async def test_a_connection_that_postgres_has_closed_is_replaced(pool: Pool) -> None:
    async with pool.acquire() as db, pool.acquire() as other:
        await db.fetchval("SELECT pg_terminate_backend($1)", other.get_server_pid())
        with suppress(*DATABASE_ERRORS):
            await other.fetchval("SELECT 1")
    assert (pool.size, pool.idle_size) == (1, 1)
    async with pool.acquire() as db, pool.acquire() as other:
        assert await other.fetchval("SELECT 1") == 1


async def test_unused_connections_are_closed_except_the_first(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(4):
            await stack.enter_async_context(pool.acquire())
    assert (pool.size, pool.idle_size) == (4, 4)
    monkeypatch.setattr(database_pool, "IDLE_LIFETIME", 0.0)
    for _ in range(4):
        await pool.fetchval("SELECT 1")
    assert (pool.size, pool.idle_size) == (database.POOL_MIN, database.POOL_MIN)


async def test_a_connection_is_replaced_after_many_uses(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_pool, "USES_PER_CONNECTION", 3)
    processes = [await pool.fetchval("SELECT pg_backend_pid()") for _ in range(6)]
    assert [processes.count(process) for process in dict.fromkeys(processes)] == [3, 3]


async def test_a_pool_closes_after_the_last_use_and_refuses_further_ones(pool: Pool) -> None:
    async with pool.acquire() as db:
        closing = asyncio.create_task(pool.close())
        await asyncio.wait({closing}, timeout=0.01)
        assert not closing.done()
        assert await db.fetchval("SELECT 1") == 1
    await closing
    with pytest.raises(asyncpg.InterfaceError, match="the pool is closed"):
        await pool.fetchval("SELECT 1")


async def in_order(queue: ConnectionQueue, served: list[str], name: str, *, is_request: bool) -> None:
    if is_request:
        mark_request()
    await queue.enter()
    served.append(name)
    await asyncio.sleep(0)
    queue.leave(has_succeeded=True)


async def test_a_pool_closes_after_postgres_has_ended(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    async with pool.acquire() as db:
        connection = db

    async def fail(_: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(asyncpg.Connection, "close", fail)
    await pool.close()
    assert connection.is_closed()
    assert pool.size == 0


async def test_a_pool_that_was_empty_waits_for_the_last_use(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_pool, "USES_PER_CONNECTION", 1)
    for _ in range(database.POOL_MIN):
        await pool.fetchval("SELECT 1")
    assert pool.size == 0
    async with pool.acquire() as db:
        closing = asyncio.create_task(pool.close())
        await asyncio.wait({closing}, timeout=0.01)
        assert not closing.done()
        assert await db.fetchval("SELECT 1") == 1
    await closing


async def test_requests_come_before_background_work_which_is_not_starved() -> None:
    queue, served = ConnectionQueue(1), list[str]()
    await queue.enter()
    tasks = [asyncio.create_task(in_order(queue, served, f"b{n}", is_request=False)) for n in range(2)]
    tasks += [asyncio.create_task(in_order(queue, served, f"r{n}", is_request=True)) for n in range(6)]
    await asyncio.sleep(0)
    queue.leave(has_succeeded=True)
    await asyncio.gather(*tasks)
    assert served == ["r0", "r1", "r2", "r3", "b0", "r4", "r5", "b1"]


async def test_callers_wait_as_long_as_connections_are_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_queue, "ACQUIRE_TIMEOUT", 0.05)
    queue = ConnectionQueue(1)
    await queue.enter()
    waiting = [asyncio.create_task(queue.enter()) for _ in range(4)]
    await asyncio.sleep(0)
    for task in waiting:
        # Each use takes most of the patience of the next caller, and all of them together exceed it.
        await asyncio.sleep(0.03)
        queue.leave(has_succeeded=True)
        await task
    last = asyncio.create_task(queue.enter())
    with pytest.raises(TimeoutError, match="no connection to the database"):
        await last
    queue.leave(has_succeeded=True)
    await queue.enter()


async def test_a_caller_that_is_cancelled_passes_its_connection_on() -> None:
    queue = ConnectionQueue(1)
    await queue.enter()
    first, second = asyncio.create_task(queue.enter()), asyncio.create_task(queue.enter())
    await asyncio.sleep(0)
    queue.leave(has_succeeded=True)
    first.cancel()
    await second
    assert first.cancelled()


async def test_more_requests_than_the_bound_are_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_queue, "MAX_WAITING", 2)
    queue, mark = ConnectionQueue(1), _as_request
    await queue.enter()
    waiting = [asyncio.create_task(mark(queue.enter)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(DatabaseBusy, match="2 requests wait for the database"):
        await asyncio.create_task(mark(queue.enter))
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)


async def test_nobody_waits_longer_than_the_longest_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_queue, "LONGEST_WAIT", 0.01)
    queue = ConnectionQueue(1)
    await queue.enter()
    with pytest.raises(DatabaseBusy, match="busy with others"):
        await queue.enter()


async def _as_request(work: Callable[[], Any]) -> None:
    mark_request()
    await work()
