"""Clocks moved by hand, so that a test of a time-out or an expiry neither races with its limit nor waits for it."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

from events.clock import Clock
from service.system import RandomIds, SystemClock

# The clock and the ids of tests that depend on neither.
CLOCK = SystemClock()
IDS = RandomIds()


class LoopClock:
    """Replaces an asyncio loop's clock. Make it before anything that remembers the loop's `time`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._real = loop.time
        self._ahead = 0.0
        loop.time = self.now  # type: ignore[method-assign]

    def now(self) -> float:
        return self._real() + self._ahead

    def skip(self, seconds: float) -> None:
        """Lets `seconds` pass at once: timers that are due by then fire at the loop's next turn."""
        self._ahead += seconds


class WallClock(Clock):
    """The system's clock, which a test can set forward."""

    def __init__(self, ahead: timedelta = timedelta(0)) -> None:
        self._ahead = ahead

    def now(self) -> datetime:
        return CLOCK.now() + self._ahead

    def skip(self, seconds: float) -> None:
        """Lets `seconds` pass at once."""
        self._ahead += timedelta(seconds=seconds)
