"""The guarantees of every blob store: a folder, and an S3-compatible server (moto's, in a process of its own)."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import stat
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from service.storage.base import CHUNK, BlobMissing, Blobs, StorageError
from service.storage.checked_read import BlobChanged, KnownBlob, read_checked
from service.storage.folder import BLOCK, FolderBlobs
from service.storage.objects import ObjectBlobs
from service.storage.segments import SEGMENT, load_hashes
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
@pytest.mark.parametrize("size", [0, 1, SEGMENT - 1, SEGMENT, SEGMENT + 1, 3 * SEGMENT, 3 * SEGMENT + 77])
async def test_hashes_of_segments(blobs: Blobs, size: int) -> None:
    content = os.urandom(size)
    pieces = [content[at : at + 300_007] for at in range(0, size, 300_007)]
    stored = await blobs.write("file-1", chunks(*pieces))
    expected = [content[at : at + SEGMENT] for at in range(0, size, SEGMENT)] or [b""]
    found = load_hashes(size, stored.sha256, stored.segments)
    assert found == [hashlib.sha256(segment).digest() for segment in expected]
    assert (stored.segments is None) == (size <= SEGMENT)
    with pytest.raises(ValueError, match="for 5 segments"):
        load_hashes(4 * SEGMENT + 1, stored.sha256, base64.b64encode(bytes(32)).decode())


@pytest.mark.slow
async def test_parts_of_a_blob(blobs: Blobs) -> None:
    content = os.urandom(3 * SEGMENT + 77)
    stored = await blobs.write("file-1", chunks(content))
    known = KnownBlob(key="file-1", size=stored.bytes, sha256=stored.sha256, segments=stored.segments)
    old = replace(known, segments=None)
    for start, stop in (
        (0, 1),
        (0, SEGMENT),
        (5, SEGMENT + 5),
        (SEGMENT, 2 * SEGMENT),
        (SEGMENT - 1, 3 * SEGMENT + 1),
        (3 * SEGMENT, 3 * SEGMENT + 77),
        (0, len(content)),
        (len(content) - 1, len(content)),
    ):
        for blob in (known, old):
            assert b"".join([p async for p in read_checked(blobs, blob, start=start, stop=stop)]) == content[start:stop]
        assert b"".join([p async for p in blobs.read("file-1", start, stop)]) == content[start:stop]
    assert [p async for p in blobs.read("file-1", len(content))] == []
    assert b"".join([p async for p in blobs.read("file-1", SEGMENT, 10 * SEGMENT)]) == content[SEGMENT:]
    with pytest.raises(BlobMissing):
        [p async for p in blobs.read("file-2", SEGMENT)]


async def _take(blobs: Blobs, blob: KnownBlob, start: int, stop: int) -> tuple[bytes, bool]:
    """Returns the bytes that a read yields, and whether it ended because they were changed."""
    got = b""
    try:
        async for piece in read_checked(blobs, blob, start=start, stop=stop):
            got += piece
    except BlobChanged:
        return got, True
    return got, False


@pytest.mark.slow
async def test_changed_segments_are_never_read(blobs: Blobs) -> None:
    """A changed byte, bytes that were cut off, added, or swapped: no read yields any byte that was not written."""
    size = 3 * SEGMENT + 77
    content = os.urandom(size)
    stored = await blobs.write("file-1", chunks(content))
    known = KnownBlob(key="file-1", size=size, sha256=stored.sha256, segments=stored.segments)
    changes: dict[int, bytes] = {
        at // SEGMENT: content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
        for at in (0, SEGMENT + 7, 3 * SEGMENT - 1, size - 1)
    }
    for number, changed in changes.items():
        await blobs.write("file-1", chunks(changed))
        for place in range(4):
            start, stop = place * SEGMENT, min(size, (place + 1) * SEGMENT)
            expected = (b"", True) if place == number else (content[start:stop], False)
            assert await _take(blobs, known, start, stop) == expected
        got, is_changed = await _take(blobs, known, 0, size)
        assert is_changed
        assert content.startswith(got)
        assert len(got) <= number * SEGMENT
        assert await _take(blobs, replace(known, segments=None), 0, 1) == (b"", True), "checked as a whole"
    swapped = content[SEGMENT : 2 * SEGMENT] + content[:SEGMENT] + content[2 * SEGMENT :]
    for changed, place in ((content[:-1], 3), (content + b"x", 3), (content[: 2 * SEGMENT], 3), (swapped, 1), (b"", 2)):
        await blobs.write("file-1", chunks(changed))
        assert await _take(blobs, known, place * SEGMENT, min(size, (place + 1) * SEGMENT)) == (b"", True)
    assert await _take(blobs, replace(known, segments="AAAA"), 0, 1) == (b"", True)


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
