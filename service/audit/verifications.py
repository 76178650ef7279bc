"""Verifications of the whole installation that a person starts over HTTP, one at a time in each process.

The work is that of `everthread verify` without the bytes of files and without the checkpoints that were kept elsewhere.
It has a thread, an event loop and connections of its own, so no run and no request waits for it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass

import asyncpg
import structlog

from service.audit.verification import Progress, Scope, verify_installation
from service.database import DATABASE_ERRORS
from service.errors import StartupError

log = structlog.get_logger()

# Seconds that a verification may take, and between two reports of its progress.
MAX_VERIFICATION_S = 900.0
REPORT_EVERY_S = 0.5
_ERRORS = (TimeoutError, StartupError, asyncpg.PostgresError, *DATABASE_ERRORS)


class VerificationBusy(Exception):
    """Another verification is at work in this process."""


class _StopRequest(Exception):
    """Nobody waits for the verification any more, or its time is over."""


@dataclass(frozen=True, slots=True)
class VerificationState:
    """The findings of a verification so far. `problem` says why it ended early; None if it did not."""

    progress: Progress
    is_ended: bool
    problem: str | None = None


class Verifications:
    """Verifies the installation whose database is at `url`, as the service's role."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._running: asyncio.Task[Progress] | None = None

    async def run(self) -> AsyncGenerator[VerificationState, None]:
        """Yields the state every REPORT_EVERY_S seconds, and at last that of the end. Raises VerificationBusy.

        If the caller closes the iterator, the verification stops after its batch.
        """
        if self._running is not None and not self._running.done():
            raise VerificationBusy
        work = _Work(self._url)
        running = self._running = asyncio.create_task(asyncio.to_thread(work.run))
        try:
            while not running.done():
                await asyncio.wait([running], timeout=REPORT_EVERY_S)
                if not running.done():
                    yield VerificationState(work.progress, is_ended=False)
            yield VerificationState(running.result(), is_ended=True, problem=work.problem)
        finally:
            work.is_wanted = False


class _Work:
    """One verification, in a thread. The event loop of the server reads its fields."""

    def __init__(self, url: str) -> None:
        self.progress = Progress()
        self.problem: str | None = None
        self.is_wanted = True
        self._url = url
        self._deadline = time.monotonic() + MAX_VERIFICATION_S

    def run(self) -> Progress:
        try:
            self.progress = asyncio.run(verify_installation(self._url, None, Scope(processes=1), self._note))
        except _StopRequest:
            self.problem = f"It took more than {MAX_VERIFICATION_S:.0f} seconds. `everthread verify` has no bound."
        except _ERRORS as error:
            log.warning("verification_failed", error=str(error) or type(error).__name__)
            self.problem = "The database did not answer."
        return self.progress

    def _note(self, progress: Progress) -> None:
        self.progress = progress
        if not self.is_wanted or time.monotonic() > self._deadline:
            raise _StopRequest
