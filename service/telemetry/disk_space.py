"""Checks that the disks that a server writes to have room: those of its data directory, files and embedded Postgres.

A full disk stops a database within seconds, and Postgres then ends with a PANIC. So a disk counts as full before that:
if it has less than a set number of free bytes, or fewer than MIN_FREE_FILES free inodes.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path

MIN_FREE_FILES = 1_000
_MIB = 1024 * 1024


class DiskSpace:
    """The free space of folders by what they hold, for example {"the data directory": path}.

    A disk needs `min_free` bytes that an account other than root can use. Folders that do not exist are left out.
    """

    def __init__(self, folders: Mapping[str, Path], *, min_free: int) -> None:
        self._folders = folders
        self._min_free = min_free

    async def check(self) -> str | None:
        """Returns None if every disk has room, else one line that names the first that is full."""
        return await asyncio.to_thread(self._find_full)

    def _find_full(self) -> str | None:
        for name, folder in self._folders.items():
            try:
                disk = os.statvfs(folder)
            except FileNotFoundError:
                continue
            except OSError as error:
                return f"the disk of {name} cannot be read: {error.strerror}"
            free = disk.f_bavail * disk.f_frsize
            if free < self._min_free:
                limit = self._min_free // _MIB
                return f"the disk of {name} is full or nearly full: {free // _MIB} MiB are free, and {limit} are needed"
            # A file system without a bound on inodes reports 0 of 0.
            if disk.f_files > 0 and disk.f_favail < MIN_FREE_FILES:
                return f"the disk of {name} is nearly full: it can hold {disk.f_favail} more files"
        return None
