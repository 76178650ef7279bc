"""The loop's own clock, moved by hand: a test of a time-out need not be faster than its limit, nor wait for it."""

from __future__ import annotations

import asyncio


class LoopClock:
    """Takes the place of an asyncio loop's clock; make it before anything that remembers the loop's `time`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._real = loop.time
        self._ahead = 0.0
        loop.time = self.now  # type: ignore[method-assign]

    def now(self) -> float:
        return self._real() + self._ahead

    def skip(self, seconds: float) -> None:
        """Lets `seconds` pass at once: timers that are due by then fire at the loop's next turn."""
        self._ahead += seconds
