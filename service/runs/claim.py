"""A claim on a run, and work that lasts no longer than it may: until the run is cancelled, overdue or not ours."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine
from contextlib import suppress

import structlog

from events.thread.state import ThreadState
from service.database import DATABASE_ERRORS
from service.writer import Writer

log = structlog.get_logger()

# Timers may fire a little early; an expiry must not be asked for before its time.
TIMER_SLACK = 0.01
RETRY_AFTER = 0.5
# Seconds between looks at the log while work goes on: a wake-up may be lost.
LOOK_EVERY = 2.0
# Seconds for stopped work to let go of what it holds. Work that does not is left to itself: the run ends without it.
STOPS_WITHIN = 20.0


class Claimed:
    """`interrupted` is set by whoever knows that the run may have changed."""

    def __init__(self, writer: Writer, thread_id: str, run_id: str, epoch: int) -> None:
        self.thread_id = thread_id
        self.run_id = run_id
        self.epoch = epoch
        self.interrupted = asyncio.Event()
        self._writer = writer

    def holds(self, state: ThreadState) -> bool:
        """Whether this claim still stands."""
        run = state.run
        return run is not None and run.id == self.run_id and run.epoch == self.epoch and run.process is not None

    async def pause(self, seconds: float) -> None:
        """Waits before another attempt, with jitter; any change of the run ends the wait."""
        if seconds:
            self.interrupted.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds * random.uniform(0.5, 1.0)):
                    await self.interrupted.wait()

    async def work(self, doing: Coroutine[None, None, None], expires_at: int) -> bool | None:
        """Lets it work. True where it came to its end, False where it was stopped since the run ends early.

        None where the run was taken from us meanwhile. Raises what the work raises.
        """
        working = asyncio.create_task(doing)
        try:
            held = await self._watch_over(working, expires_at)
        finally:
            # Not `await working`: its cancellation could not be told from ours, and ours must not be swallowed.
            working.cancel()
            _, hanging = await asyncio.wait({working}, timeout=STOPS_WITHIN)
        if hanging:
            log.error("stopped work hangs, and is left to itself", thread_id=self.thread_id, run_id=self.run_id)
            return False if held else None
        error = None if working.cancelled() else working.exception()
        if not held:
            return None
        if error is not None:
            raise error
        return not working.cancelled()

    async def _watch_over(self, working: asyncio.Task[None], expires_at: int) -> bool:
        """Waits until the work ended, or must be stopped: the run was cancelled, or its time is up.

        False where the claim is no longer ours.
        """
        while not working.done():
            interruption = asyncio.create_task(self.interrupted.wait())
            left = max(0, expires_at - self._writer.clock.now().timestamp()) + TIMER_SLACK
            waited = {working, interruption}
            try:
                await asyncio.wait(waited, timeout=min(left, LOOK_EVERY), return_when=asyncio.FIRST_COMPLETED)
            finally:
                interruption.cancel()
            if working.done() or self._writer.clock.now().timestamp() >= expires_at:
                return True
            self.interrupted.clear()
            try:
                state = await self._writer.load_thread(self.thread_id)
            except DATABASE_ERRORS:
                # The model speaks on meanwhile; the next look will tell.
                await asyncio.sleep(RETRY_AFTER)
                continue
            if not self.holds(state):
                return False
            if state.run is not None and state.run.status == "cancelling":
                return True
        return True
