"""The guarantees of every blob store: a folder, and an S3-compatible server (moto's, in a process of its own)."""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from service.storage.base import CHUNK, BlobMissing, Blobs, StorageError
from service.storage.folder import BLOCK, FolderBlobs
from service.storage.objects import ObjectBlobs
from tests.clock import CLOCK
from tests.storage.moto import s3


async def chunks(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def whole(blobs: Blobs, key: str) -> bytes:
    return b"".join([piece async for piece in blobs.read(key)])


async def keys(blobs: Blobs, age: timedelta = timedelta(0)) -> list[str]:
    return sorted([key async for page in blobs.list_older(CLOCK.now() - age + timedelta(seconds=2)) for key in page])


@pytest.fixture(params=["folder", "s3"])
async def blobs(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Blobs]:
    if request.param == "folder":
        yield FolderBlobs(tmp_path / "blobs")
        return
    async with s3(monkeypatch) as url:
        yield ObjectBlobs(url)


@pytest.mark.slow
async def test_a_blob_is_read_as_it_was_written(blobs: Blobs) -> None:
    pieces = [os.urandom(size) for size in (1, 100_000, 3 * CHUNK, 9 * CHUNK, 7)]
    content = b"".join(pieces)
    stored = await blobs.write("file-1", chunks(*pieces))
    assert (stored.bytes, stored.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert await whole(blobs, "file-1") == content
    empty = await blobs.write("file-2", chunks())
    assert (empty.bytes, await whole(blobs, "file-2")) == (0, b"")


async def test_zeros_take_no_room_in_a_folder(tmp_path: Path) -> None:
    """Code in a sandbox makes a sparse file at no cost."""
    blobs = FolderBlobs(tmp_path)
    content = bytes(20 * CHUNK) + b"x" + bytes(5 * CHUNK + 7) + b"y" + bytes(3 * CHUNK)
    step = CHUNK - 1_001  # pieces that begin at no border of a block
    pieces = [content[at : at + step] for at in range(0, len(content), step)]
    stored = await blobs.write("file-1", chunks(*pieces))
    assert (stored.bytes, stored.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert await whole(blobs, "file-1") == content
    status = (tmp_path / "file-1").stat()
    assert status.st_size == len(content)
    assert status.st_blocks * 512 <= 4 * BLOCK
    await blobs.write("file-2", chunks(bytes(2 * CHUNK)))
    assert await whole(blobs, "file-2") == bytes(2 * CHUNK)


@pytest.mark.slow
async def test_what_breaks_off_leaves_nothing(blobs: Blobs) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"x" * (2 * CHUNK)
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await blobs.write("file-1", broken())
    with pytest.raises(BlobMissing):
        await whole(blobs, "file-1")
    assert await keys(blobs) == []


@pytest.mark.slow
async def test_deleting_and_listing(blobs: Blobs) -> None:
    for key in ("file-1", "file-2", "part_3"):
        await blobs.write(key, chunks(b"x"))
    assert await keys(blobs) == ["file-1", "file-2", "part_3"]
    assert await keys(blobs, age=timedelta(hours=1)) == []
    await blobs.delete(["file-1", "file-9", "part_3"])
    assert await keys(blobs) == ["file-2"]


async def test_a_folder_is_ours_alone_and_shows_what_a_crash_left(tmp_path: Path) -> None:
    blobs = FolderBlobs(tmp_path / "blobs")
    await blobs.write("file-1", chunks(b"x"))
    assert stat.S_IMODE((tmp_path / "blobs").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "blobs" / "file-1").stat().st_mode) == 0o600
    (tmp_path / "blobs" / "file-2.unfinished").write_bytes(b"half")
    assert await keys(blobs) == ["file-1", "file-2.unfinished"]
    await blobs.delete(["file-2.unfinished"])
    assert await keys(blobs) == ["file-1"]


async def test_what_cannot_be_used_says_so(tmp_path: Path) -> None:
    (tmp_path / "taken").write_bytes(b"")
    with pytest.raises(StorageError, match="Cannot use the folder"):
        FolderBlobs(tmp_path / "taken")
    with pytest.raises(StorageError, match="Cannot use"):
        ObjectBlobs("ftp://somewhere/else")


async def test_a_listing_that_is_given_up_while_it_is_read(tmp_path: Path) -> None:
    """Stopping a server during a sweep once closed the folder's listing under the thread that read it, and crashed
    Python.
    """
    for number in range(3000):
        (tmp_path / f"file-{number:022}").touch()
    blobs = FolderBlobs(tmp_path)
    for _ in range(50):
        listing = asyncio.ensure_future(_first(blobs.list_older(CLOCK.now() + timedelta(days=1))))
        await asyncio.sleep(0)
        listing.cancel()
        with suppress(asyncio.CancelledError):
            await listing


async def _first(pages: AsyncIterator[list[str]]) -> list[str]:
    return await anext(pages)
