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
from service.sandbox.bubblewrap import PYTHON, SandboxLauncher, find_launcher
from service.sandbox.environment import Environment, NoEnvironment, find_environment
from service.sandbox.packages import SMALL, PackageSet
from service.sandbox.process import ConfinedProcess
from service.sandbox.provisioning import BEING_MADE, Provisioning

log = structlog.get_logger()

# Seconds before a failed trial is repeated, so that requests do not wait on a machine that forbids sandboxes.
AGAIN_S = 30.0
_TRIAL_S = 30.0
# Trials in a row if the process of each is killed, which says nothing about the machine.
TRIALS = 3
# Seconds for the end of a process whose output has ended.
_EXIT_S = 1.0
_HELP = "see docs/code-interpreter.md"
# Seconds that a caller waits until the sandbox's Python is made.
MADE_WITHIN_S = 540.0
_LIMITS = Limits(memory=256 * MIB, processes=8, disk=16 * MIB, inodes=128)
_COMMAND = (PYTHON, "-s", "-P", "-c", "print(open('/proc/self/status').read())")
CONFINED = {
    "CapInh": "0" * 16, "CapPrm": "0" * 16, "CapEff": "0" * 16, "CapBnd": "0" * 16, "CapAmb": "0" * 16,
    "NoNewPrivs": "1", "Seccomp": "2",
}  # fmt: skip


class TrialKilled(SandboxUnavailable):
    """The process of the trial was killed before it said anything."""


class SandboxProbe:
    """The means to confine code on this machine, tried once for each set of packages.

    `folder` holds the sandbox's Python with `packages`, or with the part of them that is made so far. `making` makes it
    if it is missing.
    """

    def __init__(
        self, folder: Path | None = None, making: Provisioning | None = None, packages: PackageSet = SMALL
    ) -> None:
        self._folder = folder
        self._packages = packages
        self._provisioning = making
        self._turn = asyncio.Lock()
        self._launcher: SandboxLauncher | None = None
        self._reason: str | None = None
        self._tried = float("-inf")
        self._failed: set[Path] = set()  # environments whose trial failed although another one works

    @property
    def is_provisioning(self) -> bool:
        """Whether the sandbox's Python is being made."""
        return self._provisioning is not None and self._provisioning.is_running

    async def wait_for_launcher(self) -> SandboxLauncher:
        """Waits up to MADE_WITHIN_S until the sandbox's Python is made, then does the same as `launcher`."""
        if self._provisioning is not None:
            await self._provisioning.wait_until_usable(MADE_WITHIN_S)
        return await self.launcher()

    async def launcher(self) -> SandboxLauncher:
        """Returns the launcher if the trial succeeded. Raises SandboxUnavailable with the reason if it failed."""
        if self.is_provisioning:
            raise SandboxUnavailable(BEING_MADE)
        async with self._turn:
            if self._launcher is None and time.monotonic() - self._tried > AGAIN_S:
                await self._try_first()
            if self._launcher is None:
                raise SandboxUnavailable(self._reason or "not tried")
            if self.is_outdated(self._launcher.environment):
                await self._replace()
            return self._launcher

    def is_outdated(self, environment: Environment) -> bool:
        """Returns whether new sessions get another environment than this one, because more packages are made now."""
        try:
            newest = find_environment(self._folder, self._packages)
        except NoEnvironment:
            return False
        return newest != environment and newest.folder not in self._failed

    @property
    def is_tried(self) -> bool:
        """Whether the trial has ended."""
        return self._launcher is not None or self._reason is not None

    @property
    def unavailable_reason(self) -> str | None:
        """The reason why there is no sandbox here, or None if there is one or the trial has not ended."""
        return self._reason

    async def _try_first(self) -> None:
        try:
            environment = find_environment(self._folder, self._packages)
            self._launcher, self._reason = await _try(environment), None
        except NoEnvironment as error:
            failed = self._provisioning.failure if self._provisioning is not None else None
            self._reason = failed or str(error)
        except SandboxUnavailable as error:
            self._reason = str(error)
        finally:  # also if the caller was cancelled
            self._tried = time.monotonic()
        if self._reason is not None:
            log.warning("sandbox_unavailable", reason=self._reason)

    async def _replace(self) -> None:
        """Takes the newest environment if a trial with it succeeds."""
        newest = find_environment(self._folder, self._packages)
        try:
            self._launcher = await _try(newest)
        except SandboxUnavailable as error:
            self._failed.add(newest.folder)
            log.warning("sandbox_python_unusable", folder=str(newest.folder), reason=str(error))


async def _try(environment: Environment) -> SandboxLauncher:
    """Returns the launcher of sandboxes with this Python, if a trial succeeds. Raises SandboxUnavailable."""
    try:
        launcher = await asyncio.to_thread(find_launcher, environment)
        await asyncio.to_thread(launcher.cgroups.sweep)
        await _repeat_trial(launcher)
    except OSError as error:
        raise SandboxUnavailable(f"the sandbox cannot be started: {error.strerror or error}") from None
    bounds = sorted(launcher.cgroups.controllers)
    log.info("sandbox_available", python=str(environment.folder), control_groups=bounds)
    return launcher


async def _repeat_trial(launcher: SandboxLauncher) -> None:
    """Tries up to TRIALS times, as long as the process of the trial is killed. Raises as `_trial` does."""
    for left in reversed(range(TRIALS)):
        try:
            await _trial(launcher)
        except TrialKilled:
            if not left:
                raise
        else:
            return


async def _trial(launcher: SandboxLauncher) -> None:
    """Raises SandboxUnavailable unless a process is confined as required; TrialKilled if that is not known."""
    if launcher.bwrap is None:
        raise SandboxUnavailable("bubblewrap is not installed: install the package bubblewrap, which brings `bwrap`")
    if launcher.system_calls is None:
        raise SandboxUnavailable("no system-call filter is written for this processor")
    process = launcher.start(_COMMAND, {}, _LIMITS)
    try:
        said = await _all(process)
        if "CapEff" not in said:
            if reason := process.last_words():
                raise SandboxUnavailable(f"this machine lets no sandbox be made ({reason}): {_HELP}")
            if await process.wait_for_exit(_EXIT_S):
                raise TrialKilled(f"the process that tries the sandbox was killed: {_HELP}")
            raise SandboxUnavailable(f"the trial of the sandbox took more than {_TRIAL_S:.0f} s: {_HELP}")
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


def status_of(pid: int) -> str:
    """Returns the text of /proc/PID/status, or an empty text if the process has ended."""
    try:
        return Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return ""
