"""Processes on one database: they see each other come and go, and wake each other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg
import pytest

import service.processes.peers
from events.thread.state import ThreadState
from service.feed import tail
from service.migrations import prepare_database
from service.processes.peers import IDS_PER_NOTIFY, Peers
from sql.connection import Connection
from tests.clock import IDS
from tests.events.thread.story import CREATE, add
from tests.fixtures.postgres import empty_database
from tests.projections.helpers import ORIGIN
from tests.runs.fake_model import FakeModel
from tests.runs.process import Process

WAIT_S = 60.0


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service.processes.peers, "LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(service.processes.peers, "RECONNECT_AFTER_S", 0.02)


class CountedPeers(Peers):
    """Returns how often it has joined: once at first, and once after each lost connection."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.joins = 0
        self.joined = asyncio.Event()

    async def join(self) -> None:
        await super().join()
        self.joins += 1
        self.joined.set()

    async def has_joined(self, times: int) -> None:
        async with asyncio.timeout(WAIT_S):
            while self.joins < times:
                self.joined.clear()
                await self.joined.wait()


class Member:
    """A process that consists only of its membership among its peers."""

    def __init__(self, url: str) -> None:
        self.woken: asyncio.Queue[str] = asyncio.Queue()
        self._changed = asyncio.Event()
        self.peers = CountedPeers(url, ids=IDS, wake=self.woken.put_nowait)
        self.peers.listen(self)

    def on_peers_change(self) -> None:
        self._changed.set()

    async def sees(self, *others: Member) -> None:
        """Waits until exactly these peers and the process itself are alive."""
        expected = {self.peers.process, *(other.peers.process for other in others)}
        async with asyncio.timeout(WAIT_S):
            while self.peers.live != expected:
                self._changed.clear()
                await self._changed.wait()

    async def hears(self, count: int) -> set[str]:
        async with asyncio.timeout(WAIT_S):
            return {await self.woken.get() for _ in range(count)}


@asynccontextmanager
async def member(url: str) -> AsyncIterator[Member]:
    made = Member(url)
    await made.peers.join()
    task = asyncio.create_task(made.peers.run())
    try:
        yield made
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await made.peers.leave()


async def test_peers_see_each_other_come_and_go(database_url: str) -> None:
    async with member(database_url) as one:
        await one.sees()
        async with member(database_url) as two:
            await one.sees(two)
            await two.sees(one)
            async with member(database_url) as three:
                await one.sees(two, three)
                await three.sees(one, two)
            await two.sees(one)
        await one.sees()


async def test_a_process_that_lives_between_two_checks_is_noticed(
    database_url: str, db: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its death must be noticed, since it may have left work behind."""
    async with member(database_url) as one:
        monkeypatch.setattr(service.processes.peers, "LOOK_EVERY_S", WAIT_S)
        short = Member(database_url)
        await short.peers.join()
        await short.peers.leave()
        await one.sees(short)
        await one.peers.refresh(db)
        await one.sees()


async def test_a_process_that_dies_is_seen_gone(database_url: str) -> None:
    async with member(database_url) as one, member(database_url) as two:
        await one.sees(two)
        two.peers._db.terminate()  # type: ignore[union-attr]
        two.peers._url = "postgresql://127.0.0.1:1/nowhere"
        await one.sees()


async def test_a_lost_connection_is_made_again_under_the_same_number(database_url: str, db: Connection) -> None:
    async with member(database_url) as one, member(database_url) as two:
        await one.sees(two)
        number = two.peers.process
        pid = await db.fetchval("SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid::bigint = $1", number)
        await db.execute("SELECT pg_terminate_backend($1)", pid)
        await two.peers.has_joined(2)
        await one.sees(two)
        assert two.peers.process == number
        _tell(one, "thread_1")
        assert await two.hears(1) == {"thread_1"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "error",
    [
        OSError("reset"),
        asyncpg.InterfaceError("closed"),
        asyncpg.ConnectionDoesNotExistError("closed in the middle"),
        asyncpg.AdminShutdownError("terminating"),
        asyncpg.CannotConnectNowError("starting up"),
        asyncpg.InternalClientError("cannot switch to state 12; another operation (2) is in progress"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_no_loss_of_the_connection_ends_a_process(
    database_url: str, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last of these is an error that asyncpg raises, one time in ten, if a server closes an idle connection."""
    async with member(database_url) as one, member(database_url) as two:
        refresh = two.peers.refresh

        async def fail(db: Connection) -> frozenset[int]:
            monkeypatch.setattr(two.peers, "refresh", refresh)
            raise error

        monkeypatch.setattr(two.peers, "refresh", fail)
        await two.peers.has_joined(2)
        await two.sees(one)
        await one.sees(two)
        _tell(one, "thread_1")
        assert await two.hears(1) == {"thread_1"}


async def test_a_join_that_fails_half_way_leaves_no_lock(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the process would block itself."""

    async def refuse(*_: Any) -> None:
        raise OSError("gone")

    made = Member(database_url)
    with monkeypatch.context() as patch:
        patch.setattr(asyncpg.Connection, "add_listener", refuse)
        with pytest.raises(OSError, match="gone"):
            await made.peers.join()
        await made.peers.leave()
    async with member(database_url) as other:
        await other.sees()
    await made.peers.join()
    await made.peers.leave()


async def test_processes_of_another_database_are_no_peers(database_url: str, postgres: str) -> None:
    async with empty_database(postgres) as other_url:
        await prepare_database(other_url)
        await _see_no_others(database_url, other_url)


async def _see_no_others(database_url: str, other_url: str) -> None:
    async with member(database_url) as one, member(other_url) as elsewhere:
        await one.sees()
        await elsewhere.sees()
        assert one.peers.live.isdisjoint(elsewhere.peers.live)


def _tell(sender: Member, *thread_ids: str) -> None:
    for id in thread_ids:
        sender.peers.on_thread_append(id, [], ThreadState(id))


async def test_notify_wakes_the_others_and_not_the_sender(database_url: str) -> None:
    async with member(database_url) as one, member(database_url) as two, member(database_url) as three:
        await one.sees(two, three)
        many = {f"thread_{number:024}" for number in range(IDS_PER_NOTIFY + 50)}
        _tell(one, *many)
        assert await two.hears(len(many)) == many
        assert await three.hears(len(many)) == many
        assert one.woken.empty()


async def test_who_is_alone_tells_nobody(database_url: str) -> None:
    async with member(database_url) as one:
        _tell(one, "thread_1")
        assert one.peers._outbox == set()


async def test_what_one_process_appends_the_other_streams(database_url: str) -> None:
    async with Process(database_url, FakeModel()) as one, Process(database_url, FakeModel()) as two:
        await one.wait_for_peers(two)
        with two.feed.watch("thread_1") as watcher:
            await one.writer.thread(ORIGIN, "thread_1", CREATE)
            await one.writer.thread(ORIGIN, "thread_1", add())
            found: list[Any] = []
            async with asyncio.timeout(WAIT_S):
                async for some in tail(watcher, two.pool, 0):
                    found += some
                    if len(found) == 2:
                        break
        assert [entry.version for entry in found] == [1, 2]


async def test_what_is_appended_while_a_word_is_under_way_is_told_too() -> None:
    peers = Peers("postgresql://nowhere", ids=IDS, wake=lambda _: None)
    peers.live = frozenset({peers.process, peers.process + 1})
    told: list[str] = []

    class Slow:
        async def execute(self, _query: str, _channel: str, payload: str) -> None:
            told.append(payload)
            if len(told) == 1:
                peers.on_thread_append("thread_1", [], ThreadState("thread_1"))

    peers.on_thread_append("thread_1", [], ThreadState("thread_1"))
    await peers._send(Slow())  # type: ignore[arg-type]
    await peers._send(Slow())  # type: ignore[arg-type]
    assert told == [f"{peers.process} thread_1"] * 2
