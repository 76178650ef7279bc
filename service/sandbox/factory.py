"""Opens sandboxes on this machine with bubblewrap."""

from __future__ import annotations

from functools import partial

from service.sandbox.base import Limits, SandboxUnavailable
from service.sandbox.bubblewrap import CODE, PYTHON
from service.sandbox.contents import RUNNER, session_files
from service.sandbox.probe import SandboxProbe
from service.sandbox.session import Session


class LocalSandboxSource:
    def __init__(self, probe: SandboxProbe, limits: Limits) -> None:
        self._probe = probe
        self._limits = limits

    async def open(self) -> Session:
        """Returns a new session, ready and frozen. If the sandbox's Python is being made, waits until one set of its
        packages is complete. Raises SandboxUnavailable.
        """
        launcher = await self._probe.wait_for_launcher()
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
