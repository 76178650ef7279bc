"""Clocks moved by hand: a test of a time-out or an expiry need not be faster than its limit, nor wait for it."""

from __future__ import annotations

import asyncio
import sys
from datetime import datetime, timedelta

import pytest

from events import envelope
from service.runs import claim, supervisor


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


class WallClock:
    """Takes the place of `events.envelope.now` wherever it was imported; whoever waits for a time looks at it often."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._real = envelope.now
        self._ahead = timedelta()
        for module in list(sys.modules.values()):
            if getattr(module, "now", None) is self._real:
                monkeypatch.setattr(module, "now", self.now)
        monkeypatch.setattr(claim, "LOOK_EVERY", 0.05)
        monkeypatch.setattr(supervisor, "SCAN_EVERY", 0.05)

    def now(self) -> datetime:
        return self._real() + self._ahead

    def skip(self, seconds: float) -> None:
        """Lets `seconds` pass at once."""
        self._ahead += timedelta(seconds=seconds)
