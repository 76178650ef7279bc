"""The user ids and privileges of helper processes."""

from __future__ import annotations

import os
import pwd
from contextlib import suppress
from pathlib import Path

import psutil


def status_of(pid: int, field: str) -> str:
    """Returns a field of /proc/<pid>/status."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.partition(":")[2].strip() for line in lines if line.startswith(f"{field}:"))


def has_own_id(pid: int) -> bool:
    """Whether the process can gain no privileges and, if we are root, shares its id with no account and no child."""
    if status_of(pid, "NoNewPrivs") != "1":
        return False
    if os.geteuid() != 0:
        return True
    uid = int(status_of(pid, "Uid").split()[0])
    with suppress(KeyError):
        pwd.getpwuid(uid)
        return False
    others = [child.pid for child in psutil.Process().children(recursive=True) if child.pid != pid]
    return all(int(status_of(other, "Uid").split()[0]) != uid for other in others)
