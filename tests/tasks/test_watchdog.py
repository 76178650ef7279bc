"""A watchdog over waits: its deadline moves without a timer, and expires once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from service.tasks.watchdog import Watchdog
from tests.clock import LoopClock


@pytest.fixture
async def clock() -> LoopClock:
    return LoopClock(asyncio.get_running_loop())


async def _turn() -> None:
    """Lets the timers fire that are due."""
    for _ in range(3):
        await asyncio.sleep(0)


async def test_a_wait_beyond_its_deadline_expires_once(clock: LoopClock) -> None:
    expiries: list[int] = []
    watchdog = Watchdog(lambda: expiries.append(1))
    watchdog.start(clock.now() + 10)
    clock.skip(9)
    await _turn()
    assert expiries == []
    clock.skip(2)
    await _turn()
    clock.skip(100)
    await _turn()
    assert expiries == [1]


async def test_a_wait_that_has_ended_does_not_expire(clock: LoopClock) -> None:
    expiries: list[int] = []
    watchdog = Watchdog(lambda: expiries.append(1))
    watchdog.start(clock.now() + 10)
    watchdog.stop()
    clock.skip(20)
    await _turn()
    watchdog.start(clock.now() + 10)
    watchdog.close()
    clock.skip(20)
    await _turn()
    assert expiries == []


async def test_a_deadline_moves_forwards_and_backwards(clock: LoopClock) -> None:
    expiries: list[int] = []
    watchdog = Watchdog(lambda: expiries.append(1))
    watchdog.start(clock.now() + 10)
    clock.skip(9)
    watchdog.start(clock.now() + 10)  # the timer of the first wait fires, and finds this one
    clock.skip(2)
    await _turn()
    assert expiries == []
    watchdog.start(clock.now() + 1)
    clock.skip(2)
    await _turn()
    assert expiries == [1]


async def test_many_waits_need_one_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, calls = asyncio.get_running_loop(), []
    real = loop.call_at

    def call_at(when: float, callback: Callable[[], object]) -> asyncio.TimerHandle:
        calls.append(when)
        return real(when, callback)

    monkeypatch.setattr(loop, "call_at", call_at)
    watchdog = Watchdog(lambda: None)
    for _ in range(100):
        watchdog.start(loop.time() + 60)
        watchdog.stop()
    watchdog.close()
    assert len(calls) == 1
