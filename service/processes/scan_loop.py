"""A scan that is repeated as long as the server runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog

from service.database import DATABASE_ERRORS

log = structlog.get_logger()


class ScanLoop:
    """Repeats a scan: after a pause, or at once if it is nudged.

    A scan that fails does not end the server, since the next one may succeed.
    """

    def __init__(
        self,
        name: str,
        *,
        every_s: float,
        retry_s: float = 0.5,
        coalesce_s: float = 0.0,
        expected: tuple[type[Exception], ...] = (),
    ) -> None:
        """`name` is the scan's in log events.

        The pause is `every_s` seconds, unless the scan returns another one. It is `retry_s` after an error of the
        database or of a type in `expected`, which are logged without a traceback. Nudges that come within
        `coalesce_s` seconds cause one scan.
        """
        self._name = name
        self._every_s = every_s
        self._retry_s = retry_s
        self._coalesce_s = coalesce_s
        self._expected: tuple[type[Exception], ...] = (*DATABASE_ERRORS, *expected)
        self._nudge = asyncio.Event()

    def nudge(self) -> None:
        """Starts the next scan at once; if one is at work, another follows it."""
        self._nudge.set()

    async def run(self, scan: Callable[[], Awaitable[float | None]]) -> None:
        """Scans until cancelled. `scan` returns the seconds until the next scan, or None for `every_s`."""
        while True:
            self._nudge.clear()
            pause = await self._attempt(scan)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._nudge.wait()
            if self._coalesce_s:
                await asyncio.sleep(self._coalesce_s)

    async def _attempt(self, scan: Callable[[], Awaitable[float | None]]) -> float:
        """Scans once. Returns the pause after it, in seconds."""
        try:
            pause = await scan()
        except self._expected as error:
            log.warning("scan_failed", scan=self._name, error=str(error) or type(error).__name__)
            return self._retry_s
        except Exception:
            log.exception("scan_failed", scan=self._name)
            return self._every_s
        return self._every_s if pause is None else pause
