"""Stops the processes of a session between calls, and finds out if they run nevertheless.

A control group freezes processes, and nothing inside can undo that. Without one they are stopped by a signal, which a
timer or an asynchronous file inside can undo.
"""

from __future__ import annotations

import signal
import time
from contextlib import suppress
from dataclasses import dataclass

import psutil

from service.sandbox.process import ConfinedProcess

# A session is running between calls if its runner has used more CPU seconds since it was stopped. A signal takes a
# moment to stop a process, so the state of the process counts only after IDLE_LOOK_S.
IDLE_CPU_S, IDLE_LOOK_S = 0.5, 1.0


@dataclass(frozen=True, slots=True)
class _Stop:
    """When the runner was stopped, its CPU seconds then, and whether its control group froze it."""

    at: float
    cpu_s: float
    is_frozen: bool


class SessionFreezer:
    """`runner` is the main process of the session inside."""

    def __init__(self, process: ConfinedProcess, runner: psutil.Process) -> None:
        self._process = process
        self._runner = runner
        self._stop: _Stop | None = None

    def freeze(self) -> None:
        is_frozen = self._process.freeze()
        if not is_frozen:
            self.signal(signal.SIGSTOP)
        with suppress(psutil.Error):
            self._stop = _Stop(time.monotonic(), _cpu_s(self._runner), is_frozen)

    def thaw(self) -> None:
        self._stop = None
        self._process.thaw()
        self.signal(signal.SIGCONT)

    def has_run(self) -> bool:
        """Returns whether the runner has run since it was stopped. Returns False while it may run."""
        stop = self._stop
        if stop is None:
            return False
        try:
            if _cpu_s(self._runner) - stop.cpu_s > IDLE_CPU_S:
                return True
            if stop.is_frozen or time.monotonic() - stop.at <= IDLE_LOOK_S:
                return False
            return bool(self._runner.status() != psutil.STATUS_STOPPED)
        except psutil.Error:
            return False  # the process has ended, and the next read of its pipes shows that

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to the runner."""
        with suppress(psutil.Error):  # the process has ended, and the next read of its pipes shows that
            self._runner.send_signal(number)


def _cpu_s(process: psutil.Process) -> float:
    """Returns the CPU seconds of one process. Raises psutil.Error."""
    times = process.cpu_times()
    return float(times.user + times.system)
