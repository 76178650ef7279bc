"""The feed gives every event once and in order, whether it was published or read from the log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from random import Random
from typing import Any

import pytest

import service.feed
from events import event_log
from events.envelope import RecordedEvent
from service.database import Pool
from service.deltas import MessageTextDelta
from service.feed import MAX_TAKEN, WAKE, Feed, Watcher, WatcherLagging, tail
from service.writer import Writer
from tests.clock import CLOCK, IDS
from tests.events.thread.story import CREATE, add
from tests.projections.helpers import ORIGIN

EVENTS = 40
WAIT_S = 60.0


@pytest.fixture
async def log(pool: Pool) -> list[RecordedEvent[Any]]:
    """The events of a thread, committed without a notification of watchers."""
    write, found = Writer(pool, Feed(), clock=CLOCK, ids=IDS), []
    found += (await write.thread(ORIGIN, "thread_1", CREATE)).recorded
    for number in range(1, EVENTS):
        found += (await write.thread(ORIGIN, "thread_1", add("Hi", f"msg_{number}"))).recorded
    return found


def delta(text: str) -> MessageTextDelta:
    return MessageTextDelta("run_1", "msg_x", "step_x", 0, text)


async def until(items: AsyncIterator[list[Any]], enough: Callable[[list[Any]], bool]) -> list[Any]:
    """Returns the items of a tail until `enough` holds."""
    found: list[Any] = []
    async with asyncio.timeout(WAIT_S):
        async for some in items:
            found += some
            if found and enough(found):
                break
    return found


def versions(found: list[Any]) -> list[int]:
    return [item.version for item in found if isinstance(item, RecordedEvent)]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
async def test_every_event_once_and_in_order(pool: Pool, log: list[RecordedEvent[Any]], seed: int) -> None:
    """Publishes events out of order, twice or not at all, in bursts, with wake-ups between."""
    random = Random(seed)
    heard: list[Any] = [entry for entry in log for _ in range(random.choice((0, 1, 1, 2)))]
    heard += [WAKE] * random.randrange(4)
    for at in range(len(heard) - 1):
        other = min(len(heard) - 1, at + random.randrange(6))
        heard[at], heard[other] = heard[other], heard[at]
    heard.append(WAKE)  # makes the tail read everything that was missed
    after = random.choice((0, 0, 7))
    watcher = Watcher("thread_1")

    async def publish() -> None:
        for item in heard:
            watcher.put(item)
            if random.random() < 0.3:
                await asyncio.sleep(0)

    publishing = asyncio.create_task(publish())
    found = await until(tail(watcher, pool, after), lambda some: some[-1].version == EVENTS)
    await publishing
    assert versions(found) == list(range(after + 1, EVENTS + 1))
    assert found == log[after:]


async def test_live_pieces_keep_their_place(pool: Pool, log: list[RecordedEvent[Any]]) -> None:
    watcher = Watcher("thread_1")
    for item in (log[0], delta("a"), log[1], delta("b"), delta("c"), log[3], delta("d")):
        if isinstance(item, RecordedEvent):
            watcher.put(item)
        else:
            watcher.put_deltas([item], item.length)
    found = await until(tail(watcher, pool, 0), lambda some: some[-1] == delta("d"))
    assert [item.text if isinstance(item, MessageTextDelta) else item.version for item in found] == [
        *(1, "a", 2, "b", "c"),
        *range(3, EVENTS + 1),
        "d",
    ]


async def test_a_lost_wake_up_costs_only_time(
    pool: Pool, log: list[RecordedEvent[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service.feed, "POLL", 0.01)
    feed = Feed()
    looking = asyncio.create_task(feed.run(pool))
    with feed.watch("thread_1") as one, feed.watch("thread_1") as two:
        for watcher in (one, two):
            found = await until(tail(watcher, pool, 5), lambda some: len(some) >= EVENTS - 5)
            assert versions(found) == list(range(6, EVENTS + 1))
    looking.cancel()


class CountingPool:
    """A pool that counts its uses."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.asked = 0

    def acquire(self) -> Any:
        self.asked += 1
        return self._pool.acquire()


async def test_however_many_watch_what_is_idle_there_is_one_look(
    pool: Pool, log: list[RecordedEvent[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service.feed, "POLL", 0.01)
    feed, counting = Feed(), CountingPool(pool)
    with ExitStack() as stack:
        watchers = [stack.enter_context(feed.watch("thread_1")) for _ in range(20)]
        tails = [tail(watcher, counting, EVENTS) for watcher in watchers]  # type: ignore[arg-type]
        for _ in range(3):
            assert await asyncio.gather(*(anext(items) for items in tails)) == [[]] * len(tails)
        assert counting.asked == 0
        await feed._wake_behind(counting)  # type: ignore[arg-type]
        assert counting.asked == 1
        assert not any(watcher._has_news for watcher in watchers), "nobody has missed anything"
        recorded = (
            await Writer(pool, Feed(), clock=CLOCK, ids=IDS).thread(ORIGIN, "thread_1", add("Hi", "msg_x"))
        ).recorded
        await feed._wake_behind(counting)  # type: ignore[arg-type]
        assert await asyncio.gather(*(anext(items) for items in tails)) == [recorded] * len(tails)


async def test_a_watcher_that_does_not_read_is_cut_off(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service.feed, "MAX_BACKLOG", 10)
    feed = Feed()
    with feed.watch("thread_1") as slow, feed.watch("thread_1") as quick:
        for _ in range(3):
            feed.publish_deltas("thread_1", [delta("a")] * 5)
            assert len(await quick.take()) == 5
        assert len(slow._items) == 10
        with pytest.raises(WatcherLagging):
            await until(tail(slow, pool, 0), lambda _: False)


async def test_a_watcher_that_does_not_read_holds_a_bounded_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service.feed, "MAX_BACKLOG_TEXT", 100)
    feed = Feed()
    with feed.watch("thread_1") as slow:
        for _ in range(5):
            feed.publish_deltas("thread_1", [delta("a" * 40)])
        assert len(slow._items) == 2
        with pytest.raises(WatcherLagging):
            await slow.take()


async def test_events_behind_many_items_are_read_from_the_log(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A watcher that does not read holds no event that may be large."""
    monkeypatch.setattr(service.feed, "MAX_BEFORE_EVENT", 3)
    write = Writer(pool, Feed(), clock=CLOCK, ids=IDS)
    with write.feed.watch("thread_1") as slow:
        write.feed.publish_deltas("thread_1", [delta("a")] * 3)
        written = await write.thread(ORIGIN, "thread_1", CREATE)
        written_later = await write.thread(ORIGIN, "thread_1", add("Hi", "msg_x"))
        write.feed.publish_deltas("thread_1", [delta("b")])
        assert slow._items == [delta("a")] * 3 + [WAKE, delta("b")]
        items = await anext(tail(slow, pool, 0))
    assert items == [*[delta("a")] * 3, *written.recorded, *written_later.recorded, delta("b")]


async def test_what_was_missed_is_read_page_by_page(
    pool: Pool, log: list[RecordedEvent[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The events of a long or a large thread are never in memory as a whole."""
    monkeypatch.setattr(service.feed, "MAX_TAKEN", 30)
    watcher = Watcher("thread_1")
    watcher.put(WAKE)
    items = tail(watcher, pool, 0)
    assert [versions(await anext(items)) for _ in range(2)] == [[*range(1, 31)], [*range(31, EVENTS + 1)]]
    monkeypatch.setattr(event_log, "READ_BYTES", 1)
    watcher.put(WAKE)
    items = tail(watcher, pool, 0)
    assert [versions(await anext(items)) for _ in range(3)] == [[1], [2], [3]]


async def test_a_backlog_is_taken_in_turns(pool: Pool) -> None:
    """The frames of a backlog are not made in one turn of the event loop."""
    watcher, turns = Watcher("thread_1"), list[int]()
    for _ in range(5 * MAX_TAKEN):
        watcher.put_deltas([delta("a")], 1)
    for number in range(5):
        assert len(await watcher.take()) == MAX_TAKEN
        assert len(turns) == number
        asyncio.get_running_loop().call_soon(turns.append, 0)
    watcher.put_deltas([delta("b")], 1)
    assert await watcher.take() == [delta("b")]
    watcher.close()


async def test_watchers_go_with_their_context() -> None:
    feed = Feed()
    with feed.watch("thread_1") as one, feed.watch("thread_1") as two:
        feed.wake("thread_1")
        feed.publish_deltas("thread_2", [delta("nobody's")])
        assert await one.take() == await two.take() == [WAKE]
    assert feed._watchers == {}
    feed.wake("thread_1")
