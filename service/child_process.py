"""Child processes that never outlive this process.

A child gets a session of its own, so that Ctrl-C reaches only this process, which then stops its children in order. On
Linux the kernel signals the child when this process dies, even by `kill -9`. Children must be started from the main
thread, since the kernel watches the thread that forked.
"""

from __future__ import annotations

import asyncio
import ctypes
import multiprocessing
import os
import random
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import wait
from multiprocessing.context import BaseContext
from pathlib import Path
from threading import Thread
from typing import IO

import psutil

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
# User ids for helpers of a server that root runs. No distribution assigns them to accounts; those of the embedded
# Postgres and of sandboxes begin above.
_FIRST_ID, _IDS = 61_184, 316
_POLL_S = 0.01
# Bytes after which the log of a child is renamed at its next start, and the number of renamed logs that are kept.
MAX_LOG = 10 * 1024 * 1024
KEPT_LOGS = 2
# Bytes at the end of a log in which the reason of a child's end is looked for.
_TAIL = 64 * 1024
_FATAL = re.compile(r"\b(FATAL|PANIC):")
_prctl = ctypes.CDLL(None, use_errno=True).prctl if sys.platform == "linux" else None


def helper_id() -> int | None:
    """Returns a user id for a helper that reads strangers' data: one without an account, which no process has.

    Returns None if this process is not root: it cannot change the user, and the helper runs under its own id. It reads
    all processes of the machine, so call it in a thread.
    """
    if os.geteuid() != 0:
        return None
    used = {process.info["uids"].real for process in psutil.process_iter(["uids"]) if process.info["uids"] is not None}
    free = [uid for uid in range(_FIRST_ID, _FIRST_ID + _IDS) if uid not in used]
    return random.choice(free or range(_FIRST_ID, _FIRST_ID + _IDS))


def renounce_privileges() -> None:
    """Keeps the calling process, and all that it starts, from gaining privileges by a set-user-id program.

    It is one system call, so that a child may make it before its program starts.
    """
    if _prctl is not None:
        _prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def environment(**more: str) -> dict[str, str]:
    """Returns the environment of a child: `more`, a default PATH, and neither keys nor this process's own settings.

    The locale is C, which every machine has.
    """
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC", **kept, **more}


def spawn(
    command: Sequence[str | Path],
    *,
    cwd: Path,
    env: Mapping[str, str],
    log: IO[bytes],
    uid: int | None,
    death_signal: signal.Signals,
    stdin: int = subprocess.DEVNULL,
    stdout: int | None = None,
) -> subprocess.Popen[bytes]:
    """Starts a child that receives `death_signal` when this process dies. It can gain no privileges. Raises OSError."""
    return subprocess.Popen(
        command,
        cwd=cwd,
        env=env,
        stdin=stdin,
        stdout=log if stdout is None else stdout,
        stderr=log,
        start_new_session=True,
        user=uid,
        group=uid,
        extra_groups=None if uid is None else [],
        preexec_fn=_prepare(death_signal),  # noqa: PLW1509  # system calls, bound before: safe with threads
    )


def spawn_peer(
    command: Sequence[str | Path], *, env: Mapping[str, str], descriptors: Sequence[int], death_signal: signal.Signals
) -> subprocess.Popen[bytes]:
    """Starts a child that is as trusted as this process: it inherits `descriptors`, its output, and its privileges.

    It receives `death_signal` when this process dies. Raises OSError.
    """
    return subprocess.Popen(
        command,
        env=env,
        stdin=subprocess.DEVNULL,
        pass_fds=descriptors,
        start_new_session=True,
        preexec_fn=_prepare(death_signal, may_gain_privileges=True),  # noqa: PLW1509  # as above
    )


def _prepare(death_signal: signal.Signals, *, may_gain_privileges: bool = False) -> Callable[[], None] | None:
    prctl, number = _prctl, int(death_signal)
    if prctl is None:
        return None

    def prepare() -> None:
        # After the change of the child's user, which would clear the signal.
        prctl(_PR_SET_PDEATHSIG, number)
        if not may_gain_privileges:
            renounce_privileges()

    return prepare


def worker_context(module: str) -> BaseContext:
    """Returns the context of a ProcessPoolExecutor whose workers are forks of one process that has imported `module`.

    Forks of this process would hold its connections and locks. The process that forks lives as long as this one: use it
    for a command, or for several workers.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([module])
    return context


def end_with_parent() -> None:
    """Lets this process, a worker of a ProcessPoolExecutor, end as soon as its parent has ended, even by `kill -9`.

    A signal of the kernel does not do for a fork of a server of forks: that server is its parent there.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        Thread(target=_end_after, args=(parent.sentinel,), daemon=True).start()


def _end_after(parent: int) -> None:
    wait([parent])
    os._exit(1)


async def wait_for_exit(child: subprocess.Popen[bytes], timeout_s: float) -> bool:
    """Waits until the child has exited. Returns False if it still runs after `timeout_s`."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    while child.poll() is None:
        if loop.time() > deadline:
            return False
        await asyncio.sleep(_POLL_S)
    return True


async def stop(child: subprocess.Popen[bytes], steps: Sequence[tuple[signal.Signals, float]]) -> None:
    """Sends the signals one after another until the child has exited. Each comes with the seconds to wait after it."""
    for number, timeout_s in steps:
        if child.poll() is not None:
            return
        child.send_signal(number)
        if await wait_for_exit(child, timeout_s):
            return


def open_log(log: Path) -> IO[bytes]:
    """Opens the log of a child to append to it, readable for this user only. Raises OSError.

    A log that is larger than MAX_LOG bytes is renamed first; KEPT_LOGS renamed logs are kept, the newest as `<log>.1`.
    """
    if log.exists() and log.stat().st_size > MAX_LOG:
        for number in range(KEPT_LOGS, 0, -1):
            older = log if number == 1 else log.with_name(f"{log.name}.{number - 1}")
            if older.exists():
                older.replace(log.with_name(f"{log.name}.{number}"))
    return os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600), "ab")


def log_reason(log: Path, start: int = 0) -> str:
    """Returns the line of a child's log that says why the child ended, for an error message.

    It is the last line of Postgres' level FATAL or PANIC, or else the last line. `start` is the size in bytes that the
    log had when the child started, so that the lines of earlier children are left out.
    """
    try:
        with log.open("rb") as file:
            file.seek(max(start, file.seek(0, os.SEEK_END) - _TAIL))
            lines = file.read().decode(errors="replace").strip().splitlines()
    except OSError:
        lines = []
    fatal = [line for line in lines if _FATAL.search(line)]
    return (fatal or lines or ["its log is empty"])[-1].strip()
