"""Opens sandboxes on this machine with bubblewrap."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from service.sandbox.base import Limits, SandboxUnavailable
from service.sandbox.bubblewrap import CODE, PYTHON
from service.sandbox.probe import SandboxProbe
from service.sandbox.session import Session

# The runner comes first; it imports the others.
_INSIDE = ("runner.py", "disk.py")


@cache
def _inside() -> dict[str, str]:
    return {name: files("service.sandbox.inside").joinpath(name).read_text() for name in _INSIDE}


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
            process = launcher.start([PYTHON, "-s", "-P", f"{CODE}/{_INSIDE[0]}"], _inside(), self._limits)
        except OSError as error:
            raise SandboxUnavailable(f"the sandbox cannot be started: {error.strerror or error}") from None
        session = Session(process, self._limits)
        try:
            await session.start()
        except BaseException:
            await session.close()
            raise
        return session
