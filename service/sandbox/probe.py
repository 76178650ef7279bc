"""Whether code can be confined here: found out by trying, once, with the command line that is used later.

The trial runs a Python in a sandbox as sessions and jobs do, and reads what the kernel says of that process: no
capability, no way to gain any, a system-call filter. Anything less and there is no sandbox here; nothing falls back to
running code of others without one.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import structlog

from service.sandbox.base import MIB, Limits, SandboxUnavailable
from service.sandbox.bubblewrap import PYTHON, Jail, find_jail
from service.sandbox.environment import place
from service.sandbox.process import Confined
from service.sandbox.provisioning import BEING_MADE, Making

log = structlog.get_logger()

# A trial that failed is not made again before this many seconds: nobody is kept waiting by a machine that forbids it.
AGAIN_S = 30.0
_TRIAL_S = 30.0
# What waits for the sandbox's Python to be made is told after so many seconds that there is none yet.
MADE_WITHIN_S = 540.0
_LIMITS = Limits(memory=256 * MIB, processes=8, disk=16 * MIB, inodes=128)
_COMMAND = (PYTHON, "-s", "-P", "-c", "print(open('/proc/self/status').read())")
CONFINED = {
    "CapInh": "0" * 16, "CapPrm": "0" * 16, "CapEff": "0" * 16, "CapBnd": "0" * 16, "CapAmb": "0" * 16,
    "NoNewPrivs": "1", "Seccomp": "2",
}  # fmt: skip


class Confinement:
    """The jail of this machine, tried. `folder` is where the sandbox's Python is looked for; while it is being made
    (`making`) there is no jail yet."""

    def __init__(self, folder: Path | None = None, making: Making | None = None) -> None:
        self._folder = folder
        self._making = making
        self._turn = asyncio.Lock()
        self._jail: Jail | None = None
        self._why: str | None = None
        self._tried = float("-inf")

    @property
    def making(self) -> bool:
        """Whether the sandbox's Python is being made."""
        return self._making is not None and self._making.under_way

    async def awaited(self) -> Jail:
        """As `confined`, once the sandbox's Python is made; it waits for that no longer than MADE_WITHIN_S."""
        if self._making is not None:
            await self._making.over(MADE_WITHIN_S)
        return await self.confined()

    async def confined(self) -> Jail:
        """A jail that was seen to hold. Raises SandboxUnavailable with why there is none."""
        if self.making:
            raise SandboxUnavailable(BEING_MADE)
        async with self._turn:
            if self._jail is None and time.monotonic() - self._tried > AGAIN_S:
                await self._try()
            if self._jail is None:
                raise SandboxUnavailable(self._why or "not tried")
            return self._jail

    async def either(self) -> tuple[Jail, bool]:
        """A jail that confines, or one for plain children; and whether it confines. Raises SandboxUnavailable."""
        try:
            return await self.confined(), True
        except SandboxUnavailable:
            return await asyncio.to_thread(find_jail, self._folder), False

    @property
    def tried(self) -> bool:
        """Whether it is known if there is a sandbox here."""
        return self._jail is not None or self._why is not None

    @property
    def why_not(self) -> str | None:
        """Why there is no sandbox here; None while there is one or nobody has tried."""
        return self._why

    def _not_made(self) -> str | None:
        """Why the sandbox's Python could not be made, where it is missing for that."""
        failed = self._making.failed if self._making is not None else None
        return failed if failed is not None and not place(self._folder).complete.exists() else None

    async def _try(self) -> None:
        try:
            jail = await asyncio.to_thread(find_jail, self._folder)
            await asyncio.to_thread(jail.cgroups.sweep)
            await _trial(jail)
        except SandboxUnavailable as error:
            self._why = self._not_made() or str(error)
            log.warning("there is no sandbox here", why=self._why)
        except OSError as error:
            self._why = f"the sandbox cannot be started: {error.strerror or error}"
            log.warning("there is no sandbox here", why=self._why)
        else:
            self._jail, self._why = jail, None
            bounds = sorted(jail.cgroups.controllers)
            log.info("the sandbox works", python=str(jail.environment.folder), control_groups=bounds)
        finally:  # also where whoever asked has left
            self._tried = time.monotonic()


async def _trial(jail: Jail) -> None:
    """Raises SandboxUnavailable unless a process is confined as it must be."""
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
        if wrong := unconfined(said):
            raise SandboxUnavailable(f"a process in the sandbox is not confined: {wrong}")
    finally:
        await process.close()


async def _all(process: Confined) -> str:
    loop = asyncio.get_running_loop()
    text, deadline = b"", loop.time() + _TRIAL_S
    while len(text) < 64 * 1024 and await process.readable([process.output], deadline - loop.time()):
        piece = process.read(process.output)
        if piece == b"":
            break
        text += piece or b""
    return text.decode(errors="replace")


def unconfined(status: str) -> str | None:
    """What /proc/PID/status says that it must not; None where all is as it must be."""
    said = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    for name, wanted in CONFINED.items():
        if (found := said.get(name, "missing").strip()) != wanted:
            return f"{name} is {found}"
    return None
