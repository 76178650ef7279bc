"""Blobs in a local folder: one file a key, written under another name, synced, then renamed. Only this user may read
it.

A write holds an flock on its file until it is renamed. So a file under the other name that nobody holds is a remain of
a process that was killed.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import suppress
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import BinaryIO, ParamSpec, TypeVar

from service.storage.base import CHUNK, BlobMissing, StorageError, StoredBlob
from service.storage.segments import SegmentHasher

PAGE = 1000
# Bytes of zeros that are left out of a file as a hole; a multiple of the block sizes of file systems.
BLOCK = 64 * 1024
_ZEROS = bytes(BLOCK)
# Prefix of files that are being written. A crash leaves them under this name.
UNFINISHED = ".unfinished"
P = ParamSpec("P")
R = TypeVar("R")
_KEY = re.compile(r"[A-Za-z0-9_-]{1,200}")


class FolderBlobs:
    """Stores blobs under `path`, which is created if it is missing. Raises StorageError if that fails."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"Cannot use the folder {path}: {error.strerror}") from error

    async def write(self, key: str, chunks: AsyncIterator[bytes]) -> StoredBlob:
        final = self._file(key)
        unfinished = final.with_name(key + UNFINISHED)
        try:
            with await _off_loop(key, _create, unfinished) as file:
                stored = await _fill(key, file, chunks)
                await _off_loop(key, _keep, file, final)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
        return stored

    async def read(self, key: str, start: int = 0, stop: int | None = None) -> AsyncIterator[bytes]:
        """See `Blobs.read`."""
        try:
            with await asyncio.to_thread(open, self._file(key), "rb", 0) as file:
                at = file.seek(start)
                while stop is None or at < stop:
                    piece = await asyncio.to_thread(file.read, CHUNK if stop is None else min(CHUNK, stop - at))
                    if not piece:
                        break
                    yield piece
                    at += len(piece)
        except FileNotFoundError:
            raise BlobMissing(key) from None
        except OSError as error:
            raise StorageError(f"Cannot read {key}: {error.strerror}") from error

    async def delete(self, keys: Collection[str]) -> None:
        def unlink() -> None:
            for key in keys:
                with suppress(FileNotFoundError):
                    os.unlink(self._path / key if key.endswith(UNFINISHED) else self._file(key))

        try:
            await asyncio.to_thread(unlink)
        except OSError as error:
            raise StorageError(f"Cannot delete: {error.strerror}") from error

    async def list_older(self, than: datetime) -> AsyncIterator[list[str]]:
        found = _older(self._path, than.timestamp())
        try:
            while page := await asyncio.to_thread(lambda: list(islice(found, PAGE))):
                yield page
        except OSError as error:
            raise StorageError(f"Cannot list: {error.strerror}") from error

    async def remove_unfinished(self) -> int:
        """See `Blobs.remove_unfinished`."""
        try:
            return await asyncio.to_thread(_remove_unfinished, self._path)
        except OSError as error:
            raise StorageError(f"Cannot list: {error.strerror}") from error

    def _file(self, key: str) -> Path:
        """Returns the path of a key. Keys come from the server, never from a client; still, none may lead out of the
        folder.
        """
        assert _KEY.fullmatch(key), key
        return self._path / key


async def _off_loop(key: str, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Raises StorageError if the file system refuses an operation."""
    try:
        return await asyncio.to_thread(work, *args, **kwargs)
    except OSError as error:
        raise StorageError(f"Cannot write {key}: {error.strerror}") from error


def _create(path: Path) -> BinaryIO:
    while True:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with suppress(OSError):  # a file system without locks: `_remove_unfinished` keeps every file there
            fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file).st_nlink > 0:
            return open(file, "wb", 0)
        os.close(file)  # it was taken for a remain before it was locked


def _remove_unfinished(folder: Path) -> int:
    count = 0
    with os.scandir(folder) as entries:
        names = [entry.path for entry in entries if entry.name.endswith(UNFINISHED)]
    for name in names:
        with suppress(OSError), open(name, "r+b", 0) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises BlockingIOError while its writer lives
            os.unlink(name)
            count += 1
    return count


async def _fill(key: str, file: BinaryIO, chunks: AsyncIterator[bytes]) -> StoredBlob:
    """Writes and hashes off the event loop, a CHUNK at a time however small the pieces are.

    Blocks of zeros take no room on the disk, so that it costs as little to keep a sparse file as to make one.
    """
    hasher, size, held = SegmentHasher(), 0, bytearray()

    def flush(piece: bytes) -> None:
        hasher.update(piece)
        for at in range(0, len(piece), BLOCK):
            block = piece[at : at + BLOCK]
            if block == _ZEROS:
                file.seek(BLOCK, os.SEEK_CUR)
                continue
            view = memoryview(block)
            while view:
                view = view[file.write(view) :]

    async for chunk in chunks:
        held += chunk
        size += len(chunk)
        if len(held) >= CHUNK:
            whole = len(held) // BLOCK * BLOCK  # so that each block begins at a multiple of its size
            await _off_loop(key, flush, bytes(held[:whole]))
            del held[:whole]
    await _off_loop(key, flush, bytes(held))
    await _off_loop(key, file.truncate, size)  # the file may end in a hole
    return hasher.finish()


def _keep(file: BinaryIO, final: Path) -> None:
    """Renames the written file to its final name, and syncs file and folder to disk."""
    os.fsync(file.fileno())
    os.rename(f"{final}{UNFINISHED}", final)
    folder = os.open(final.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _older(folder: Path, than: float) -> Iterator[str]:
    """Lists a folder. It is opened and closed by the thread that iterates, since closing it in another thread crashes
    the interpreter.
    """
    with os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                if entry.stat(follow_symlinks=False).st_mtime < than:
                    yield entry.name
