"""Makes the sandbox's Python if it is missing, in a child process (`install.py`) while the server is serving.

The sets of packages are made in turn: the small one first, which serves while the full one is made. The child makes a
set under another name and renames it at the end, so two servers, or a kill in the middle, break nothing: the next one
finds it complete, or makes it again. A server that stops ends its child.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import structlog

from service.sandbox.environment import environment_in
from service.sandbox.packages import SMALL, PackageSet

log = structlog.get_logger()

BEING_MADE = "the Python for the sandbox is being made (once a version; half a minute or more)"
# Seconds between an interrupt, after which the child cleans up, and a kill.
_STOPS_S = 10.0
_NICE = 10  # The child runs with low priority, so that requests go first.
COMMAND = (sys.executable, "-m", "service.sandbox.install")
_LONGEST_REASON = 1000


class Provisioning:
    """`run` makes the sets that are missing. `is_running` is True until one set is complete, or the work has failed.

    `requirements` is the file of the packages' own list. `failure` is the reason if it failed, also if it was another
    set than the first: then the sandboxes have the last set that is complete.
    """

    def __init__(
        self,
        folder: Path | None = None,
        packages: PackageSet = SMALL,
        requirements: Path | None = None,
        *,
        command: Sequence[str] | None = None,
    ) -> None:
        self._folder = folder
        self._packages = packages
        self._requirements = requirements
        self._command = command or COMMAND
        self._usable = asyncio.Event()
        self.failure: str | None = None
        if len(self._missing_sets()) < len(packages.stages):
            self._usable.set()

    @property
    def is_running(self) -> bool:
        return not self._usable.is_set()

    async def wait_until_usable(self, within_s: float) -> bool:
        """Waits until one set is complete, or the work has failed. Returns False after that many seconds."""
        try:
            async with asyncio.timeout(within_s):
                await self._usable.wait()
        except TimeoutError:
            return False
        return True

    async def run(self) -> None:
        """Makes the sets that are missing, until one fails. A cancellation ends the child."""
        try:
            for packages in self._missing_sets():
                self.failure = await self._make(packages)
                if self.failure is not None:
                    return
                self._usable.set()
        finally:
            self._usable.set()

    def _missing_sets(self) -> list[PackageSet]:
        """Returns the sets behind the last one that is complete, in the order in which they are made."""
        missing: list[PackageSet] = []
        for packages in reversed(self._packages.stages):
            if environment_in(self._folder, packages).complete.exists():
                break
            missing.insert(0, packages)
        return missing

    async def _make(self, packages: PackageSet) -> str | None:
        """Returns None, or the reason for failure."""
        began = time.monotonic()
        folder = str(environment_in(self._folder, packages).folder)
        log.info("sandbox_python_install_started", folder=folder, packages=str(packages))
        try:
            failure = await self._child(packages)
        except OSError as error:
            failure = f"the Python for the sandbox cannot be made: {error.strerror or error}"
        if failure is not None:
            log.warning("sandbox_python_install_failed", packages=str(packages), reason=failure)
        else:
            seconds = round(time.monotonic() - began, 1)
            log.info("sandbox_python_installed", packages=str(packages), seconds=seconds)
        return failure

    async def _child(self, packages: PackageSet) -> str | None:
        """Returns None, or the reason for failure."""
        directory = {} if self._folder is None else {"EVERTHREAD_SANDBOX_DIR": str(self._folder)}
        own = [str(self._requirements.resolve())] if packages.requirements and self._requirements else []
        child = await asyncio.create_subprocess_exec(
            *self._command,
            packages.name,
            *own,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **directory},
            start_new_session=True,  # Ctrl-C reaches the child only through this process
        )
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, child.pid, _NICE)
        try:
            _, said = await child.communicate()
        except BaseException:
            await _wait_for_exit(child)
            raise
        lines = said.decode(errors="replace").strip().splitlines() or [f"exit code {child.returncode}"]
        return None if child.returncode == 0 else lines[0].removeprefix("everthread: ")[:_LONGEST_REASON]


async def _wait_for_exit(child: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        child.send_signal(signal.SIGINT)
    try:
        async with asyncio.timeout(_STOPS_S):
            await child.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        await child.wait()
