"""A watchdog over the waits of a loop, with one timer for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Watchdog:
    """Calls `on_expiry` in the event loop if a wait lasts beyond its deadline, which is a time of the loop's clock.

    A wait begins with `start` and ends with `stop`. Both are assignments: the timer is not moved with each wait, but
    looks for the deadline of the present wait when it fires. So a wait costs no timer, unlike `asyncio.timeout`.
    """

    __slots__ = ("_deadline", "_loop", "_on_expiry", "_timer")

    def __init__(self, on_expiry: Callable[[], object]) -> None:
        self._on_expiry = on_expiry
        self._loop = asyncio.get_running_loop()
        self._deadline: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def start(self, deadline: float) -> None:
        """Begins a wait that may last until `deadline`, or moves the deadline of the present one."""
        self._deadline = deadline
        if self._timer is None:
            self._timer = self._loop.call_at(deadline, self._check)
        elif self._timer.when() > deadline:
            self._timer.cancel()
            self._timer = self._loop.call_at(deadline, self._check)

    def stop(self) -> None:
        """Ends the wait."""
        self._deadline = None

    def close(self) -> None:
        """Ends the wait and the timer. Must be called at the end of the last wait."""
        self._deadline = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check(self) -> None:
        self._timer = None
        if self._deadline is None:
            return
        if self._deadline > self._loop.time():
            self._timer = self._loop.call_at(self._deadline, self._check)
            return
        self._deadline = None
        self._on_expiry()
