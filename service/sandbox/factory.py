"""Opens sandboxes on this machine with bubblewrap."""

from __future__ import annotations

from service.sandbox.base import Limits, SandboxUnavailable
from service.sandbox.bubblewrap import CODE, PYTHON
from service.sandbox.contents import RUNNER, session_files
from service.sandbox.environment import package_names
from service.sandbox.probe import SandboxProbe
from service.sandbox.session import Session


class LocalSandboxSource:
    def __init__(self, probe: SandboxProbe, limits: Limits) -> None:
        self._probe = probe
        self._limits = limits

    async def open(self) -> Session:
        """Returns a new session, ready and frozen. If the sandbox's Python is being made, waits for that. Raises
        SandboxUnavailable.
        """
        launcher = await self._probe.wait_for_launcher()
        try:
            process = launcher.start(
                [PYTHON, "-s", "-P", f"{CODE}/{RUNNER}"], session_files(package_names()), self._limits
            )
        except OSError as error:
            raise SandboxUnavailable(f"the sandbox cannot be started: {error.strerror or error}") from None
        session = Session(process, self._limits)
        try:
            await session.start()
        except BaseException:
            await session.close()
            raise
        return session
