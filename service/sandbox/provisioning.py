"""Makes the sandbox's Python if it is missing, in a child process (`install.py`) while the server is serving.

The child makes it under another name and renames it at the end, so two servers, or a kill in the middle, break nothing:
the next one finds it complete, or makes it again. A server that stops ends its child.
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

log = structlog.get_logger()

BEING_MADE = "the Python for the sandbox is being made (once a version; half a minute or more)"
# Seconds between an interrupt, after which the child cleans up, and a kill.
_STOPS_S = 10.0
_NICE = 10  # The child runs with low priority, so that requests go first.
COMMAND = (sys.executable, "-m", "service.sandbox.install")
_LONGEST_REASON = 1000


class Provisioning:
    """`run` makes the environment once, and `is_running` is True until it has ended. `failure` is the reason if it
    failed.
    """

    def __init__(self, folder: Path | None = None, command: Sequence[str] | None = None) -> None:
        self._folder = folder
        self._command = command or COMMAND
        self._finished = asyncio.Event()
        self.failure: str | None = None
        if environment_in(folder).complete.exists():
            self._finished.set()

    @property
    def is_running(self) -> bool:
        return not self._finished.is_set()

    async def wait_until_finished(self, within_s: float) -> bool:
        """Waits until the work has ended. Returns False after that many seconds."""
        try:
            async with asyncio.timeout(within_s):
                await self._finished.wait()
        except TimeoutError:
            return False
        return True

    async def run(self) -> None:
        """Makes the environment if it is missing. A cancellation ends the child."""
        if self._finished.is_set():
            return
        began = time.monotonic()
        log.info("sandbox_python_install_started", folder=str(environment_in(self._folder).folder))
        try:
            self.failure = await self._child()
        except OSError as error:
            self.failure = f"the Python for the sandbox cannot be made: {error.strerror or error}"
        finally:
            self._finished.set()
        if self.failure is not None:
            log.warning("sandbox_python_install_failed", reason=self.failure)
        else:
            log.info("sandbox_python_installed", seconds=round(time.monotonic() - began, 1))

    async def _child(self) -> str | None:
        """Returns None, or the reason for failure."""
        given = {} if self._folder is None else {"EVERTHREAD_SANDBOX_DIR": str(self._folder)}
        child = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **given},
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
