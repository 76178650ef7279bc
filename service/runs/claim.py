"""A claim on a run, and the supervision of work that is done under it.

Work under a claim is stopped if the run is cancelled, if its time is up, or if another process has taken over the run.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine
from contextlib import suppress
from typing import Literal

import structlog

from events.thread.state import ThreadState
from service.database import DATABASE_ERRORS
from service.writer import Writer

log = structlog.get_logger()

# Added to the time until a run expires, because timers may fire a little early.
TIMER_SLACK_S = 0.01
RETRY_AFTER_S = 0.5
# Seconds between two reads of the log during work, because a wake-up may be lost.
CHECK_EVERY_S = 2.0
# Seconds in which stopped work must end. After that it is abandoned, and the run ends without it.
STOP_TIMEOUT_S = 20.0

WorkEnd = Literal["finished", "stopped", "claim_lost"]


class HeldClaim:
    """A claim of this process on a run. Set `changed` if the run may have changed in the log."""

    def __init__(self, writer: Writer, thread_id: str, run_id: str, epoch: int) -> None:
        self.thread_id = thread_id
        self.run_id = run_id
        self.epoch = epoch
        self.changed = asyncio.Event()
        self._writer = writer

    def is_valid(self, state: ThreadState) -> bool:
        """Whether this claim is the latest one on the thread's run."""
        run = state.run
        return run is not None and run.id == self.run_id and run.epoch == self.epoch and run.process is not None

    async def pause(self, seconds: float) -> None:
        """Waits at most so many seconds, with jitter. A change of the run ends the wait."""
        if seconds:
            self.changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds * random.uniform(0.5, 1.0)):
                    await self.changed.wait()

    async def supervise(self, work: Coroutine[None, None, None], expires_at: int) -> WorkEnd:
        """Awaits the work, and cancels it if the run is cancelled, expires, or is taken over.

        Returns "stopped" if the run must end early. Raises what the work raises unless the claim is lost,
        and what the database raises.
        """
        task = asyncio.create_task(work)
        try:
            is_valid = await self._wait(task, expires_at)
        finally:
            # Does not await the task: its cancellation could not be distinguished from a cancellation of this method.
            task.cancel()
            _, hanging = await asyncio.wait({task}, timeout=STOP_TIMEOUT_S)
        if hanging:
            log.error("run_work_abandoned", thread_id=self.thread_id, run_id=self.run_id)
            return "stopped" if is_valid else "claim_lost"
        error = None if task.cancelled() else task.exception()
        if not is_valid:
            return "claim_lost"
        if error is not None:
            # The work may have failed because the run has ended, or because its thread was deleted meanwhile.
            if not isinstance(error, DATABASE_ERRORS) and not self.is_valid(await self._load_state()):
                return "claim_lost"
            raise error
        return "stopped" if task.cancelled() else "finished"

    async def _wait(self, task: asyncio.Task[None], expires_at: int) -> bool:
        """Waits until the task is done or must be stopped. Returns False if the claim is lost."""
        while not task.done():
            change = asyncio.create_task(self.changed.wait())
            left = max(0, expires_at - self._writer.clock.now().timestamp()) + TIMER_SLACK_S
            try:
                await asyncio.wait(
                    {task, change}, timeout=min(left, CHECK_EVERY_S), return_when=asyncio.FIRST_COMPLETED
                )
            finally:
                change.cancel()
            if task.done() or self._writer.clock.now().timestamp() >= expires_at:
                return True
            self.changed.clear()
            try:
                state = await self._load_state()
            except DATABASE_ERRORS:
                # The work continues. The next check decides.
                await asyncio.sleep(RETRY_AFTER_S)
                continue
            if not self.is_valid(state):
                return False
            if state.run is not None and state.run.status == "cancelling":
                return True
        return True

    async def _load_state(self) -> ThreadState:
        return await self._writer.load_thread(self.thread_id)
