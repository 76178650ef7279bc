"""Opens sandboxes on this machine with bubblewrap."""

from __future__ import annotations

from contextlib import suppress
from functools import partial

from service.sandbox.base import Limits, SandboxDied, SandboxUnavailable
from service.sandbox.bubblewrap import CODE, PYTHON, SandboxLauncher
from service.sandbox.contents import RUNNER, session_files
from service.sandbox.probe import SandboxProbe
from service.sandbox.session import Session

# Starts of a sandbox, if those before ended before they were ready.
STARTS = 3


class LocalSandboxSource:
    def __init__(self, probe: SandboxProbe, limits: Limits) -> None:
        self._probe = probe
        self._limits = limits

    async def open(self) -> Session:
        """Returns a new session, ready and frozen. If the sandbox's Python is being made, waits until one set of its
        packages is complete. A sandbox that dies before it is ready is started again. Raises SandboxUnavailable.
        """
        launcher = await self._probe.wait_for_launcher()
        for _ in range(STARTS - 1):
            with suppress(SandboxDied):
                return await self._start(launcher)
        return await self._start(launcher)

    async def _start(self, launcher: SandboxLauncher) -> Session:
        """Returns a new session, or raises SandboxUnavailable: SandboxDied if its process ended."""
        environment = launcher.environment
        try:
            files = session_files(environment.package_names())
            process = launcher.start([PYTHON, "-s", "-P", f"{CODE}/{RUNNER}"], files, self._limits)
        except OSError as error:
            raise SandboxUnavailable(f"the sandbox cannot be started: {error.strerror or error}") from None
        session = Session(process, self._limits, outdated=partial(self._probe.is_outdated, environment))
        try:
            await session.start()
        except BaseException:
            await session.close()
            raise
        return session
