"""Temporary folders of a server, and the removal of those that killed servers left behind.

A process holds an flock on the file `lock` in each of its folders. The kernel releases it when the process ends,
however it ends, also in another container that shares the folder of temporary files.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
from contextlib import suppress
from itertools import islice
from pathlib import Path

PREFIX = "everthread-"
_LOCK = "lock"
# Folders that one sweep looks at.
MAX_FOLDERS = 10_000
# Seconds after which an empty folder without a lock is no new one.
MIN_AGE_S = 3600.0


class TempFolder:
    """A new folder that only this user may enter, until `remove`. Raises OSError if it cannot be created.

    `kind` is a part of its name, which stays short enough for the path of a Unix socket in it.
    """

    def __init__(self, kind: str) -> None:
        while True:
            self.path = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{kind}-"))
            try:
                self._lock = _open_lock(self.path, os.O_CREAT | os.O_EXCL)
            except FileNotFoundError:  # a sweep removed the folder before it had a lock
                continue
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            if os.fstat(self._lock).st_nlink > 0:
                return
            os.close(self._lock)  # a sweep removed the folder before it was locked

    def remove(self) -> None:
        """Deletes the folder and its contents. Further calls do nothing."""
        if self._lock >= 0:
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(self._lock)
            self._lock = -1


def sweep_temp_folders() -> int:
    """Deletes the temporary folders that no live process holds, and returns their number. Root deletes those of all
    users, another account its own.

    A folder without a lock file is kept, since it is new or of another program. But it is deleted if it is empty, and
    was last changed MIN_AGE_S before the folder of temporary files: its server was killed while it deleted it.
    """
    count = 0
    for folder in islice(Path(tempfile.gettempdir()).glob(f"{PREFIX}*"), MAX_FOLDERS):
        with suppress(OSError):
            count += _remove_if_dead(folder)
    return count


def _remove_if_dead(folder: Path) -> bool:
    try:
        lock = _open_lock(folder, 0)
    except FileNotFoundError:
        return _remove_if_left(folder)
    try:
        found = os.fstat(lock)
        # The folder of a Postgres that root starts belongs to another account, with everything in it.
        if not stat.S_ISREG(found.st_mode) or os.geteuid() not in (0, found.st_uid):
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        shutil.rmtree(folder)
        return True
    finally:
        os.close(lock)


def _remove_if_left(folder: Path) -> bool:
    """Deletes an empty folder that is old. Raises OSError if it has contents."""
    found = folder.stat(follow_symlinks=False)
    is_ours = os.geteuid() in (0, found.st_uid)
    if not is_ours or found.st_mtime + MIN_AGE_S > folder.parent.stat().st_mtime:
        return False
    folder.rmdir()
    return True


def _open_lock(folder: Path, flags: int) -> int:
    return os.open(folder / _LOCK, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | flags, 0o600)
