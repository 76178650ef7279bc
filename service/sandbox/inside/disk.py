"""The files of a session: those that the code created or changed, and those that the server put in."""

from __future__ import annotations

import contextlib
import io
import json
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, BinaryIO

DATA = "/mnt/data"
# Bounds on the list of changed files: their number, characters of a path, bytes of the list as JSON.
MOST_FILES, LONGEST_PATH, MOST_TOLD = 100, 1024, 60 * 1024
MOST_SCANNED = 5_000

# (inode, size, time of change)
Look = tuple[int, int, int]
Seen = dict[str, Look]


def scan() -> Iterator[tuple[str, Look]]:
    """Returns the regular files below DATA that are not hidden, by path. Follows no link."""
    folders = [""]
    while folders:
        folder = folders.pop()
        with contextlib.suppress(OSError), os.scandir(os.path.join(DATA, folder)) as entries:
            for entry in entries:
                if entry.name.startswith(".") or entry.name == "__pycache__":
                    continue
                with contextlib.suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(f"{folder}{entry.name}/")
                    elif entry.is_file(follow_symlinks=False):
                        yield folder + entry.name, seen_at(entry.path)


def seen_at(path: str) -> Look:
    """Opens a file without following a link. Raises OSError."""
    seen = os.lstat(path)
    return seen.st_ino, seen.st_size, seen.st_mtime_ns


def look() -> Seen:
    seen: Seen = {}
    for path, what in scan():
        seen[path] = what
        if len(seen) == MOST_SCANNED:
            break
    return seen


def changed_files(before: Seen, after: Seen, hidden: set[str]) -> list[dict[str, Any]]:
    """Returns files that are new or changed, each once. A file is not listed by a name that is only its id if it has
    another.
    """
    found: dict[int, tuple[str, int]] = {}
    for path, what in after.items():
        if before.get(path) != what:
            inode, size, _ = what
            if inode not in found or found[inode][0] in hidden:
                found[inode] = (path, size)
    return [{"path": path, "size": size} for path, size in sorted(found.values())]


def tellable(files: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the files that fit into a packet and whose names are text."""
    told: list[dict[str, Any]] = []
    room = MOST_TOLD
    for file in files:
        path, size = file["path"], len(json.dumps(file)) + 2
        if len(told) == MOST_FILES or len(path) > LONGEST_PATH or size > room or not is_text(path):
            continue
        told.append(file)
        room -= size
    return told


def is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:  # bytes that are not UTF-8
        return False
    return True


class PutIn:
    """The files that the server put in, and their second names."""

    def __init__(self) -> None:
        self._put: Seen = {}  # path → its previous file; second name → path
        self._names: dict[str, str] = {}  # second name → path

    @property
    def paths(self) -> set[str]:
        return set(self._put)

    def put(self, path: str, pieces: Iterable[bytes]) -> str | None:
        """Writes all pieces. Returns None, or the reason for failure; reads the pieces to their end in either case."""
        there, why = os.path.join(DATA, path), None
        with contextlib.ExitStack() as stack:
            target: io.FileIO | None = None
            try:
                os.makedirs(os.path.dirname(there), exist_ok=True)
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(there)
                target = stack.enter_context(open(there, "xb", buffering=0))
            except OSError as error:
                why = error.strerror or "it cannot be made"
            for piece in pieces:
                if target is not None and why is None:
                    why = write_all(target, piece)
        if why is None:
            with contextlib.suppress(OSError):
                self._put[path] = seen_at(there)
        elif target is not None:
            self.remove(path)
        return why

    def remove(self, path: str) -> None:
        for name in [name for name, of in self._names.items() if of == path]:
            self._unname(name)
        self._put.pop(path, None)
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(DATA, path))

    def name(self, path: str, name: str) -> None:
        """Gives a file a second name. A name that the code itself uses stays as it is."""
        if self._names.get(name, path) != path:
            self._unname(name)
        with contextlib.suppress(OSError):
            os.link(os.path.join(DATA, path), os.path.join(DATA, name))
            self._names[name] = path

    def _unname(self, name: str) -> None:
        there = os.path.join(DATA, name)
        with contextlib.suppress(OSError):
            if seen_at(there) == self._put.get(self._names.pop(name)):
                os.unlink(there)


def write_all(target: io.FileIO, data: bytes) -> str | None:
    """Writes all of the bytes to the disk, so that closing the file cannot fail. Returns None, or the reason for
    failure.
    """
    view = memoryview(data)
    try:
        while view:
            view = view[target.write(view) :]
    except OSError as error:
        return error.strerror or "it cannot be written"
    return None


def open_below(path: str) -> BinaryIO:
    """Opens a regular file below DATA by a path without links. Raises OSError."""
    folder = os.open(DATA, os.O_PATH | os.O_DIRECTORY)
    *folders, name = path.split("/")
    try:
        for part in folders:
            below = os.open(part, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = below
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    finally:
        os.close(folder)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError("not a regular file")
    return os.fdopen(fd, "rb")
