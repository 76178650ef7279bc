"""The end of a process by SIGINT or SIGTERM: in order, within a time, or at once by a second signal."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Coroutine
from typing import Any

# Seconds for an orderly stop: those of requests, of runs, and of the embedded Postgres' checkpoint. If Postgres needs
# longer, it completes its checkpoint without this process.
STOP_TIMEOUT_S = 5.0
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


async def run_until_signal(
    work: Coroutine[Any, Any, None], on_stop: Callable[[], None], *, stops_at_hangup: bool = True
) -> bool:
    """Awaits the work until SIGINT or SIGTERM. Returns whether a signal ended it.

    The first signal cancels the work, which has STOP_TIMEOUT_S seconds to end. A second signal ends the process at
    once, by its default action, even if the event loop hangs. The kernel then signals the child processes
    (`service.child_process`). SIGHUP, which a closed terminal sends more than once, is a first signal only; without
    `stops_at_hangup` it keeps the action that it has.
    """
    task = asyncio.ensure_future(work)
    is_stopping = False

    def stop() -> None:
        nonlocal is_stopping
        if is_stopping:
            return
        is_stopping = True
        for number in STOP_SIGNALS:
            asyncio.get_running_loop().remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)
        _end_after(STOP_TIMEOUT_S)
        on_stop()
        task.cancel()

    for number in (*STOP_SIGNALS, signal.SIGHUP) if stops_at_hangup else STOP_SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, stop)
    try:
        await task
    except asyncio.CancelledError:
        if not is_stopping:
            raise
    return is_stopping


def run_loop(main: Coroutine[Any, Any, None]) -> None:
    """Runs the coroutine in a new event loop."""
    try:
        import uvloop
    except ImportError:  # on Windows, which uvloop does not support
        asyncio.run(main)
    else:
        uvloop.run(main)


def _end_after(seconds: float) -> None:
    """Ends the process with exit code 1 if it has not ended by itself after so many seconds.

    A thread does it, since the event loop may be what hangs.
    """

    def end() -> None:
        os.write(2, f"everthread: Not stopped after {seconds:.0f} s, and so ended at once.\n".encode())
        os._exit(1)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
