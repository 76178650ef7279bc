"""The scan loop: its pauses, its nudges, and scans that fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import asyncpg
import pytest
import structlog

from service.processes.scan_loop import ScanLoop

WAIT_S = 60.0
FAR_S = 3600.0


class Scans:
    """Counts scans. `outcomes` are returned or raised in turn; then each scan returns None."""

    def __init__(self, *outcomes: float | Exception | None) -> None:
        self.count = 0
        self._outcomes = list(outcomes)
        self._more = asyncio.Event()
        self.gate: asyncio.Event | None = None

    async def scan(self) -> float | None:
        self.count += 1
        self._more.set()
        if self.gate is not None:
            await self.gate.wait()
        outcome = self._outcomes.pop(0) if self._outcomes else None
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def until(self, count: int) -> None:
        async with asyncio.timeout(WAIT_S):
            while self.count < count:
                self._more.clear()
                await self._more.wait()


@asynccontextmanager
async def running(loop: ScanLoop, scans: Scans) -> AsyncIterator[None]:
    task = asyncio.create_task(loop.run(scans.scan))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()


async def settle(ready: Callable[[], bool]) -> None:
    """Lets the loop go on until it waits."""
    for _ in range(10):
        await asyncio.sleep(0)
    assert ready()


async def test_it_scans_at_the_start_and_after_the_pause_that_the_scan_returns() -> None:
    scans = Scans(0.0, 0.0, None)
    async with running(ScanLoop("test", every_s=FAR_S), scans):
        await scans.until(3)
        await settle(lambda: scans.count == 3)


async def test_a_nudge_ends_the_pause() -> None:
    loop, scans = ScanLoop("test", every_s=FAR_S), Scans()
    async with running(loop, scans):
        await scans.until(1)
        loop.nudge()
        await scans.until(2)
        await settle(lambda: scans.count == 2)


async def test_a_nudge_during_a_scan_causes_another_one() -> None:
    loop, scans = ScanLoop("test", every_s=FAR_S), Scans()
    scans.gate = asyncio.Event()
    async with running(loop, scans):
        await scans.until(1)
        loop.nudge()
        loop.nudge()
        scans.gate.set()
        await scans.until(2)
        await settle(lambda: scans.count == 2)


@pytest.mark.parametrize(
    ("error", "level"),
    [
        (OSError("refused"), "warning"),
        (TimeoutError(), "warning"),
        (asyncpg.ConnectionDoesNotExistError("closed"), "warning"),
        (LookupError("expected here"), "warning"),
        (ValueError("unforeseen"), "error"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value,
)
async def test_a_scan_that_fails_is_logged_and_repeated(error: Exception, level: str) -> None:
    # An unforeseen error is followed by the usual pause, any other by a shorter one.
    every_s, retry_s = (0.0, FAR_S) if level == "error" else (FAR_S, 0.0)
    loop, scans = ScanLoop("test", every_s=every_s, retry_s=retry_s, expected=(LookupError,)), Scans(error, FAR_S)
    with structlog.testing.capture_logs() as logged:
        async with running(loop, scans):
            await scans.until(2)
    assert [(entry["event"], entry["scan"], entry["log_level"]) for entry in logged] == [("scan_failed", "test", level)]


async def test_nudges_that_come_together_cause_one_scan() -> None:
    loop, scans = ScanLoop("test", every_s=FAR_S, coalesce_s=0.01), Scans()
    async with running(loop, scans):
        await scans.until(1)
        loop.nudge()
        await asyncio.sleep(0)
        loop.nudge()
        await scans.until(2)
        await settle(lambda: scans.count == 2)
