"""The data directory: its location, the lock that a server holds on it, and the API key in it.

A live server holds an flock on the file `lock`. The kernel releases it when the process ends, however it ends, so
the directory is in use exactly as long as a process uses it. A server with its own Postgres in the directory locks it
exclusively; servers with a database elsewhere may share a directory. Existing folders keep their permissions.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import platformdirs

from service.errors import StartupError

ROOT_DATA_DIR = Path("/var/lib/everthread")
_KEY_BYTES = 24


def default_data_dir() -> Path:
    """Returns /var/lib/everthread for root, otherwise a folder in the user's data folder."""
    return ROOT_DATA_DIR if os.geteuid() == 0 else Path(platformdirs.user_data_path("everthread"))


@dataclass(frozen=True, slots=True)
class StoredKey:
    """An API key in a data directory. `is_new` if this start has made it."""

    key: str = field(repr=False)
    file: Path
    is_new: bool


class DataDir:
    """A data directory that this process has locked, from `acquire` to `release`."""

    def __init__(self, path: Path, lock_fd: int) -> None:
        self.path = path
        self._lock_fd = lock_fd

    @classmethod
    def acquire(cls, path: Path | None = None, *, shared: bool = False) -> Self:
        """Locks the directory, and creates it if it is missing.

        Raises StartupError if a live server has locked it or if it cannot be written.
        """
        path = (path or default_data_dir()).expanduser().absolute()
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock_fd = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StartupError(f"Cannot use the data directory {path}: {error.strerror}") from None
        try:
            fcntl.flock(lock_fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(lock_fd, 200, 0).decode(errors="replace").strip() or "another server"
            os.close(lock_fd)
            raise StartupError(f"The data directory {path} is in use by {holder}") from None
        data_dir = cls(path, lock_fd)
        data_dir.announce(f"process {os.getpid()}")
        return data_dir

    def announce(self, holder: str) -> None:
        """Writes the holder of the directory into the lock file, for the error message of a second server."""
        os.ftruncate(self._lock_fd, 0)
        os.pwrite(self._lock_fd, holder.encode(), 0)

    def api_key(self) -> StoredKey:
        """Returns the API key in the directory. The first call creates it, in a file with mode 0600."""
        file = self.path / "api_key"
        try:
            known = _read_key(file)
            return StoredKey(known or _write_key(file), file, is_new=known is None)
        except OSError as error:
            raise StartupError(f"Cannot use {file}: {error.strerror}") from None

    def release(self) -> None:
        """Unlocks the directory. Further calls do nothing."""
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1


def _read_key(file: Path) -> str | None:
    try:
        return file.read_text().strip() or None
    except FileNotFoundError:
        return None


def _write_key(file: Path) -> str:
    """Writes a new key atomically, and returns the key in the file. If another server wrote one first, that counts."""
    new = file.with_name(f"api_key.{os.getpid()}")
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w") as out:
        out.write(f"et-{secrets.token_urlsafe(_KEY_BYTES)}\n")
        out.flush()
        os.fsync(out.fileno())
    try:
        os.link(new, file)
    except FileExistsError:
        if _read_key(file) is None:  # the file is empty
            new.replace(file)
    new.unlink(missing_ok=True)
    return _read_key(file) or ""
