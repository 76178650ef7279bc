"""Notices a recovery of the embedded Postgres that hangs.

If the process that carries out a recovery after a crash is itself killed early (by the system for lack of memory, for
example), PostgreSQL 18 waits without an end: the postmaster lives and refuses all connections. Its child processes
show that: a Postgres that serves has a WAL writer, and one that recovers has a startup process.
"""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable
from contextlib import suppress

import psutil
import structlog

log = structlog.get_logger()

CHECK_EVERY_S = 1.0
# Checks in a row that find neither process, before Postgres is killed. Between the two it needs 5 s at most, to end the
# processes of clients.
HANGS_AFTER_CHECKS = 7
# In the titles of the processes; the last is the title of the checkpointer at an orderly stop.
_SIGNS_OF_WORK = ("walwriter", "startup", "shutdown")


async def watch_recovery(running: Callable[[], subprocess.Popen[bytes] | None]) -> None:
    """Kills Postgres if it neither serves nor recovers, so that it is started again. Runs until cancelled.

    `running` returns the process of Postgres, or None while there is none.
    """
    checks, checked = 0, None
    while True:
        await asyncio.sleep(CHECK_EVERY_S)
        child = running()
        if child is None or child is not checked or await asyncio.to_thread(is_at_work, child.pid):
            checks, checked = 0, child
            continue
        checks += 1
        if checks >= HANGS_AFTER_CHECKS and child.poll() is None:
            log.error("postgres_recovery_hangs", pid=child.pid)
            child.kill()


def is_at_work(postmaster: int) -> bool:
    """Returns whether Postgres serves, recovers or stops, by the titles of its processes; True if it has ended."""
    try:
        children = psutil.Process(postmaster).children()
    except psutil.Error:
        return True
    for process in children:
        with suppress(psutil.Error):
            title = " ".join(process.cmdline())
            if any(sign in title for sign in _SIGNS_OF_WORK):
                return True
    return False
