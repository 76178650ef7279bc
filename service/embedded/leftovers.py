"""The remains of a Postgres whose server was killed: processes that still run, lock files and sockets.

The caller holds the lock of the data directory. So a Postgres on its data belongs to no live server, and a lock file
names either such a Postgres or a process id that means nothing any more: the process is a zombie that its new parent
has not reaped, or another program got the id, perhaps in another container. Postgres itself refuses to start as long
as the id in a lock file answers.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from pathlib import Path

import psutil

from service.errors import StartupError
from service.storage.temp_folders import PREFIX

SOCKET_KIND = "pg"
SOCKET_PREFIX = f"{PREFIX}{SOCKET_KIND}-"
_POLL_S = 0.01
_TIMEOUT_S = 20.0
_LOCK = "postmaster.pid"


def read_lock(cluster: Path) -> list[str]:
    """Returns the lines of the cluster's lock file: first the process id, fifth the socket's folder. Raises OSError."""
    try:
        return (cluster / _LOCK).read_text().splitlines()
    except FileNotFoundError:
        return []


def find_postmaster(cluster: Path, pid: str) -> psutil.Process | None:
    """Returns the process with that id if it is a live Postgres on this data. A zombie is not alive."""
    try:
        process = psutil.Process(int(pid))
    except (ValueError, psutil.Error):
        return None
    return process if _is_postgres(process, os.path.realpath(cluster)) else None


async def remove_leftovers(cluster: Path, socket_dir: Path) -> None:
    """Stops the Postgres processes on this data, and deletes their lock files and sockets.

    `socket_dir` is the folder of the next socket, which is kept. Raises StartupError if a process does not end.
    """
    lines = read_lock(cluster)
    await _stop_processes(cluster, find_postmaster(cluster, lines[0]) if lines else None)
    old = Path(lines[4]) if len(lines) > 4 else None
    if old is not None and old.name.startswith(SOCKET_PREFIX) and old != socket_dir:
        shutil.rmtree(old, ignore_errors=True)
    for folder in {cluster / "run", socket_dir}:
        for file in folder.glob(".s.PGSQL.*"):
            file.unlink(missing_ok=True)
    (cluster / _LOCK).unlink(missing_ok=True)


async def _stop_processes(cluster: Path, postmaster: psutil.Process | None) -> None:
    """Sends stronger and stronger signals until the processes have ended. Raises StartupError if one does not end.

    Children of a postmaster that was killed end by themselves; the first signal goes to the postmaster alone.
    """
    left = _find_all(cluster)
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        if not left:
            return
        targets = left if number != signal.SIGINT else [] if postmaster is None else [postmaster]
        for process in targets:
            try:
                process.send_signal(number)
            except psutil.NoSuchProcess:
                continue
        deadline = asyncio.get_running_loop().time() + _TIMEOUT_S
        while left and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(_POLL_S)
            left = [process for process in left if _is_alive(process)]
        left = left or _find_all(cluster)
    if left:
        raise StartupError(f"A Postgres of an earlier server (process {left[0].pid}) cannot be stopped")


def _find_all(cluster: Path) -> list[psutil.Process]:
    """Returns the live Postgres processes on this data: the postmaster and its children."""
    path = os.path.realpath(cluster)
    return [process for process in psutil.process_iter() if _is_postgres(process, path)]


def _is_postgres(process: psutil.Process, path: str) -> bool:
    try:
        return process.name() == "postgres" and process.cwd() == path
    except psutil.Error:
        return False


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
