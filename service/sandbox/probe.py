"""Finds out if code can be confined on this machine, by one trial with the command line of production.

The trial runs a Python in a sandbox as sessions do, and reads the kernel's view of that process: no capability, no way
to gain one, a system-call filter. Otherwise there is no sandbox here; the server never runs untrusted code without one.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import structlog

from service.sandbox.base import MIB, Limits, SandboxUnavailable
from service.sandbox.bubblewrap import PYTHON, Jail, find_jail
from service.sandbox.environment import place
from service.sandbox.process import ConfinedProcess
from service.sandbox.provisioning import BEING_MADE, Provisioning

log = structlog.get_logger()

# Seconds before a failed trial is repeated, so that requests do not wait on a machine that forbids sandboxes.
AGAIN_S = 30.0
_TRIAL_S = 30.0
# Seconds that a caller waits until the sandbox's Python is made.
MADE_WITHIN_S = 540.0
_LIMITS = Limits(memory=256 * MIB, processes=8, disk=16 * MIB, inodes=128)
_COMMAND = (PYTHON, "-s", "-P", "-c", "print(open('/proc/self/status').read())")
CONFINED = {
    "CapInh": "0" * 16, "CapPrm": "0" * 16, "CapEff": "0" * 16, "CapBnd": "0" * 16, "CapAmb": "0" * 16,
    "NoNewPrivs": "1", "Seccomp": "2",
}  # fmt: skip


class SandboxProbe:
    """The means to confine code on this machine, tried once. `folder` holds the sandbox's Python; `making` makes it if
    it is missing.
    """

    def __init__(self, folder: Path | None = None, making: Provisioning | None = None) -> None:
        self._folder = folder
        self._making = making
        self._turn = asyncio.Lock()
        self._jail: Jail | None = None
        self._why: str | None = None
        self._tried = float("-inf")

    @property
    def is_provisioning(self) -> bool:
        """Whether the sandbox's Python is being made."""
        return self._making is not None and self._making.under_way

    async def wait_for_jail(self) -> Jail:
        """Waits up to MADE_WITHIN_S until the sandbox's Python is made, then does the same as `confined`."""
        if self._making is not None:
            await self._making.over(MADE_WITHIN_S)
        return await self.jail()

    async def jail(self) -> Jail:
        """Returns the tried means of confinement. Raises SandboxUnavailable with the reason if there are none."""
        if self.is_provisioning:
            raise SandboxUnavailable(BEING_MADE)
        async with self._turn:
            if self._jail is None and time.monotonic() - self._tried > AGAIN_S:
                await self._try()
            if self._jail is None:
                raise SandboxUnavailable(self._why or "not tried")
            return self._jail

    @property
    def is_tried(self) -> bool:
        """Whether the trial has ended."""
        return self._jail is not None or self._why is not None

    @property
    def why_not(self) -> str | None:
        """The reason why there is no sandbox here, or None if there is one or the trial has not ended."""
        return self._why

    def _not_made(self) -> str | None:
        """The reason why the sandbox's Python could not be made, if that failed."""
        failed = self._making.failed if self._making is not None else None
        return failed if failed is not None and not place(self._folder).complete.exists() else None

    async def _try(self) -> None:
        try:
            jail = await asyncio.to_thread(find_jail, self._folder)
            await asyncio.to_thread(jail.cgroups.sweep)
            await _trial(jail)
        except SandboxUnavailable as error:
            self._why = self._not_made() or str(error)
            log.warning("sandbox_unavailable", reason=self._why)
        except OSError as error:
            self._why = f"the sandbox cannot be started: {error.strerror or error}"
            log.warning("sandbox_unavailable", reason=self._why)
        else:
            self._jail, self._why = jail, None
            bounds = sorted(jail.cgroups.controllers)
            log.info("sandbox_available", python=str(jail.environment.folder), control_groups=bounds)
        finally:  # also if the caller was cancelled
            self._tried = time.monotonic()


async def _trial(jail: Jail) -> None:
    """Raises SandboxUnavailable unless a process is confined as required."""
    if jail.bwrap is None:
        raise SandboxUnavailable("bubblewrap is not installed: install the package bubblewrap, which brings `bwrap`")
    if jail.system_calls is None:
        raise SandboxUnavailable("no system-call filter is written for this processor")
    process = jail.start(_COMMAND, {}, _LIMITS)
    try:
        said = await _all(process)
        if "CapEff" not in said:
            reason = process.last_words() or "it took too long"
            raise SandboxUnavailable(f"this machine lets no sandbox be made ({reason}): see docs/code-interpreter.md")
        if wrong := missing_confinement(said):
            raise SandboxUnavailable(f"a process in the sandbox is not confined: {wrong}")
    finally:
        await process.close()


async def _all(process: ConfinedProcess) -> str:
    loop = asyncio.get_running_loop()
    text, deadline = b"", loop.time() + _TRIAL_S
    while len(text) < 64 * 1024 and await process.readable([process.output], deadline - loop.time()):
        piece = process.read(process.output)
        if piece == b"":
            break
        text += piece or b""
    return text.decode(errors="replace")


def missing_confinement(status: str) -> str | None:
    """Returns the line of /proc/PID/status that shows missing confinement, or None if everything is as required."""
    said = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    for name, wanted in CONFINED.items():
        if (found := said.get(name, "missing").strip()) != wanted:
            return f"{name} is {found}"
    return None
