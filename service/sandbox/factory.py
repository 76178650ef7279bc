"""Sandboxes on this machine, by bubblewrap."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from service.sandbox.base import Limits, SandboxUnavailable
from service.sandbox.bubblewrap import CODE, PYTHON
from service.sandbox.probe import Confinement
from service.sandbox.session import Session

# The runner first; the others lie beside it.
_INSIDE = ("runner.py", "disk.py")


@cache
def _inside() -> dict[str, str]:
    return {name: files("service.sandbox.inside").joinpath(name).read_text() for name in _INSIDE}


class LocalSandboxes:
    def __init__(self, confinement: Confinement, limits: Limits) -> None:
        self._confinement = confinement
        self._limits = limits

    async def open(self) -> Session:
        """A new session, ready and frozen; where the sandbox's Python is being made, once that is done. Raises
        SandboxUnavailable."""
        jail = await self._confinement.awaited()
        try:
            process = jail.start([PYTHON, "-s", "-P", f"{CODE}/{_INSIDE[0]}"], _inside(), self._limits)
        except OSError as error:
            raise SandboxUnavailable(f"the sandbox cannot be started: {error.strerror or error}") from None
        session = Session(process, self._limits)
        try:
            await session.start()
        except BaseException:
            await session.close()
            raise
        return session
