"""The first part of an orderly stop: the runs of this process are handed over while its requests come to their end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

# Seconds after the begin of a stop at which the connections to the database are closed, whatever they wait for.
BREAK_OFF_S = 3.5


class Drain:
    """Releases the runs by `release_runs`, and calls `break_off` if the stop takes longer than BREAK_OFF_S."""

    def __init__(self, release_runs: Callable[[], Awaitable[None]], break_off: Callable[[], None]) -> None:
        self._release_runs = release_runs
        self._break_off = break_off
        self._release: asyncio.Future[None] | None = None

    def begin(self) -> None:
        """Begins the stop. It goes on in the background."""
        self._release = asyncio.ensure_future(self._release_runs())
        asyncio.get_running_loop().call_later(BREAK_OFF_S, self._break_off)

    async def wait(self) -> None:
        """Waits until the runs are released, or their release has failed."""
        if self._release is not None:
            await asyncio.wait({self._release})
