"""Many sessions in few places: closing, waiting, and warm sandboxes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence

import pytest

from service.sandbox.base import Piece, Sandbox, SandboxUnavailable
from service.sandbox.pool import NoFreeSandbox, SessionRegistry, WarmSandboxes
from tests.clock import LoopClock


class Box:
    """A sandbox that does nothing."""

    def __init__(self) -> None:
        self.closed = False
        self.runs = False
        self.is_outdated = False

    @property
    def is_lost(self) -> bool:
        return self.closed

    async def close(self) -> None:
        self.closed = True

    async def put(self, path: str, chunks: AsyncIterator[bytes]) -> None:
        raise NotImplementedError

    async def arrange(self, gone: Sequence[str], names: Sequence[tuple[str, str]]) -> None:
        raise NotImplementedError

    def execute(self, code: str) -> AsyncGenerator[Piece, None]:
        raise NotImplementedError

    def get(self, path: str, at_most: int) -> AsyncGenerator[bytes, None]:
        raise NotImplementedError

    def has_run_between_calls(self) -> bool:
        return self.runs

    def begin_call(self) -> None:
        raise NotImplementedError


class Boxes:
    def __init__(self, kind: type[Box] = Box) -> None:
        self.made: list[Box] = []
        self._kind = kind
        self.broken = False
        self.opened = asyncio.Event()

    async def open(self) -> Sandbox:
        await asyncio.sleep(0)
        if self.broken:
            raise SandboxUnavailable("not now")
        self.made.append(self._kind())
        self.opened.set()
        return self.made[-1]


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_a_key_keeps_its_session() -> None:
    boxes = Boxes()
    sessions = SessionRegistry(boxes, at_once=2, idle_s=10)
    async with sessions.hold("a") as first:
        assert first.is_new
    async with sessions.hold("a") as again:
        assert again is first
        assert not again.is_new
    assert len(boxes.made) == 1


async def test_a_session_that_was_used_for_something_else_meanwhile_is_made_anew() -> None:
    boxes = Boxes()
    sessions = SessionRegistry(boxes, at_once=2, idle_s=10)
    async with sessions.hold("a") as held:
        held.mark = "first call"
    async with sessions.hold("a", "first call") as held:
        assert not held.is_new
        held.mark = "second call"
    async with sessions.hold("a", "a call of another process") as held:
        assert held.is_new
    assert [box.closed for box in boxes.made] == [True, False]
    assert sessions.open == 1


async def test_a_session_that_makes_room_is_closed_though_who_waits_for_it_gives_up() -> None:
    begun, going_on = asyncio.Event(), asyncio.Event()

    class Slow(Box):
        async def close(self) -> None:
            begun.set()
            await going_on.wait()
            await super().close()

    boxes = Boxes(Slow)
    sessions = SessionRegistry(boxes, at_once=1, idle_s=10)
    async with sessions.hold("a"):
        pass
    waiting = asyncio.create_task(_use(sessions, "b"))
    await begun.wait()
    waiting.cancel()
    await asyncio.wait({waiting})
    going_on.set()
    async with sessions.hold("c") as held:
        assert held.is_new
        await sessions.close_idle()
    working = asyncio.create_task(sessions.run())
    await asyncio.sleep(0)
    working.cancel()
    await asyncio.wait({working})
    assert [box.closed for box in boxes.made] == [True, True]


async def test_the_least_recently_used_makes_room() -> None:
    boxes, clock = Boxes(), Time()
    sessions = SessionRegistry(boxes, at_once=2, idle_s=1000, clock=clock)
    for key in ("a", "b", "a", "c"):
        clock.now += 1
        async with sessions.hold(key):
            pass
    a, b, c = boxes.made
    assert (a.closed, b.closed, c.closed) == (False, True, False)
    async with sessions.hold("b") as anew:
        assert anew.is_new


async def test_who_finds_all_at_work_waits_and_not_for_ever() -> None:
    boxes, loop_clock = Boxes(), LoopClock(asyncio.get_running_loop())
    sessions = SessionRegistry(boxes, at_once=1, idle_s=1000)
    async with sessions.hold("a"):
        waiting = asyncio.create_task(_use(sessions, "b"))
        same = asyncio.create_task(_use(sessions, "a"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not waiting.done()
        assert not same.done()
    await asyncio.gather(waiting, same)
    async with sessions.hold("a"):
        waiting = asyncio.create_task(_use(sessions, "b"))
        await asyncio.sleep(0)
        loop_clock.skip(1000)
        with pytest.raises(NoFreeSandbox, match="all 1 sandboxes are in use"):
            await waiting


async def test_never_more_than_there_may_be() -> None:
    boxes = Boxes()
    sessions = SessionRegistry(boxes, at_once=3, idle_s=1000)

    async def use(key: str) -> None:
        async with sessions.hold(key):
            assert sum(not box.closed for box in boxes.made) <= 3
            await asyncio.sleep(0)

    await asyncio.gather(*(use(f"{number % 7}") for number in range(50)))
    assert sessions.open <= 3


async def test_an_idle_hour_ends_a_session_and_a_lost_one_is_made_anew() -> None:
    boxes, clock = Boxes(), Time()
    sessions = SessionRegistry(boxes, at_once=5, idle_s=10, clock=clock)
    async with sessions.hold("old"):
        pass
    clock.now = 5
    async with sessions.hold("young"):
        pass
    clock.now = 10
    async with sessions.hold("busy"):
        clock.now = 20
        await sessions.close_idle()
    assert [box.closed for box in boxes.made] == [True, True, False]
    async with sessions.hold("busy") as held:
        await held.sandbox.close()
    async with sessions.hold("busy") as held:
        assert held.is_new
    await sessions.forget("busy")
    assert sessions.open == 0


async def test_a_session_of_something_gone_ends_once_nobody_uses_it() -> None:
    boxes = Boxes()
    sessions = SessionRegistry(boxes, at_once=5, idle_s=1000, clock=Time())
    sessions.discard("unknown")
    async with sessions.hold("gone"):
        sessions.discard("gone")
        await sessions.close_idle()
        assert not boxes.made[0].closed
    async with sessions.hold("kept"):
        pass
    await sessions.close_idle()
    assert [box.closed for box in boxes.made] == [True, False]


async def test_a_session_that_runs_between_calls_is_ended_unless_it_is_used() -> None:
    boxes = Boxes()
    sessions = SessionRegistry(boxes, at_once=5, idle_s=1000)
    async with sessions.hold("quiet"):
        pass
    async with sessions.hold("awake"):
        boxes.made[1].runs = True
        await sessions.end_running()
        assert not boxes.made[1].closed
    await sessions.end_running()
    assert [box.closed for box in boxes.made] == [False, True]
    async with sessions.hold("awake") as held:
        assert held.is_new


async def test_a_session_that_is_being_ended_is_given_to_nobody() -> None:
    begun, going_on = asyncio.Event(), asyncio.Event()

    class Slow(Box):
        async def close(self) -> None:
            begun.set()
            await going_on.wait()
            await super().close()

    boxes = Boxes(Slow)
    sessions = SessionRegistry(boxes, at_once=5, idle_s=1000)
    async with sessions.hold("awake"):
        boxes.made[0].runs = True
    ending = asyncio.create_task(sessions.end_running())
    await begun.wait()
    assert sessions.open == 0
    using = asyncio.create_task(_use(sessions, "awake"))
    await asyncio.sleep(0)
    going_on.set()
    await asyncio.gather(ending, using)
    assert [box.closed for box in boxes.made] == [True, False]


async def test_a_warm_sandbox_with_fewer_packages_than_new_ones_is_closed() -> None:
    boxes = Boxes()
    warm = WarmSandboxes(boxes, count=1)
    working = asyncio.create_task(warm.run())
    while not warm.count:
        await asyncio.sleep(0)
    boxes.made[0].is_outdated = True
    assert not (await warm.open()).is_outdated
    assert boxes.made[0].closed
    working.cancel()
    await asyncio.wait({working})


async def test_one_is_warm_and_the_next_is_made_when_it_is_taken() -> None:
    boxes, loop_clock = Boxes(), LoopClock(asyncio.get_running_loop())
    warm = WarmSandboxes(boxes, count=1)
    working = asyncio.create_task(warm.run())
    await boxes.opened.wait()
    boxes.opened.clear()
    while not warm.count:
        await asyncio.sleep(0)
    assert await warm.open() is boxes.made[0]
    await boxes.opened.wait()
    boxes.broken = True
    while not warm.count:
        await asyncio.sleep(0)
    assert await warm.open() is boxes.made[1]
    with pytest.raises(SandboxUnavailable):
        await warm.open()
    boxes.broken = False
    boxes.opened.clear()
    loop_clock.skip(100)
    await boxes.opened.wait()
    while not warm.count:
        await asyncio.sleep(0)
    working.cancel()
    await asyncio.wait({working})
    assert [box.closed for box in boxes.made] == [False, False, True]


async def test_many_calls_of_one_project_do_not_hold_up_another() -> None:
    sessions = SessionRegistry(Boxes(), at_once=16, idle_s=1000)
    going_on = asyncio.Event()

    async def sleeping_call(key: str) -> None:
        async with sessions.hold(key, project="a"):
            await going_on.wait()

    async with asyncio.TaskGroup() as tasks:
        for number in range(18):
            tasks.create_task(sleeping_call(f"thread-{number}"))
        while sessions.open < 14:
            await asyncio.sleep(0)
        for project in ("b", "c"):
            async with asyncio.timeout(1), sessions.hold(f"thread-of-{project}", project=project) as held:
                assert held.is_new
        going_on.set()
    assert sessions.open <= 16


async def _use(sessions: SessionRegistry, key: str) -> None:
    async with sessions.hold(key):
        pass
