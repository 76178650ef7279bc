"""Reads blobs and compares them with the size and the hashes that the log has of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from hashlib import sha256

import structlog

from service.storage.base import BlobBroken, Blobs
from service.storage.segments import SEGMENT, SegmentHasher, load_hashes

log = structlog.get_logger()


class BlobChanged(Exception):
    """The bytes under the key are not those that were written: somebody changed or swapped them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownBlob:
    """A blob as the log has it. `segments` is the list of `service.storage.segments`."""

    key: str
    size: int
    sha256: str
    segments: str | None = None


async def read_checked(
    blobs: Blobs, blob: KnownBlob, *, start: int = 0, stop: int | None = None
) -> AsyncIterator[bytes]:
    """Yields the bytes from `start` up to `stop`, or up to the end, in pieces of up to SEGMENT bytes.

    A piece comes only if all of its segment is as it was written, and the last piece of the blob only if nothing
    follows it. Of a large blob whose segments have no hashes, a part comes only if the whole blob is as it was written;
    if all of it is asked for, the last piece alone waits for that. Raises BlobChanged, and the errors of `Blobs.read`.
    """
    stop = blob.size if stop is None else stop
    try:
        hashes = load_hashes(blob.size, blob.sha256, blob.segments)
    except ValueError:
        raise _change(blob, "the list of its segments") from None
    if hashes is not None:
        pieces = _read_segments(blobs, blob, hashes, start, stop)
    elif (start, stop) == (0, blob.size):
        pieces = _read_whole(blobs, blob)
    else:
        pieces = _read_part(blobs, blob, start, stop)
    try:
        async for piece in pieces:
            yield piece
    except BlobBroken as error:
        raise _change(blob, str(error)) from error


async def _read_segments(
    blobs: Blobs, blob: KnownBlob, hashes: list[bytes], start: int, stop: int
) -> AsyncIterator[bytes]:
    number, last = start // SEGMENT, max(0, stop - 1) // SEGMENT
    reads_end = last == len(hashes) - 1
    held = b""
    async for segment in _cut(blobs.read(blob.key, number * SEGMENT, None if reads_end else (last + 1) * SEGMENT)):
        if number > last or await asyncio.to_thread(_hash, segment) != hashes[number]:
            raise _change(blob, f"segment {number + 1} of {len(hashes)}")
        if held:
            yield held
        first = number * SEGMENT
        is_inside = start <= first and first + len(segment) <= stop
        held = segment if is_inside else segment[max(0, start - first) : stop - first]
        number += 1
    if number <= last:
        raise _change(blob, f"segment {number + 1} of {len(hashes)}")
    if held:
        yield held


async def _read_part(blobs: Blobs, blob: KnownBlob, start: int, stop: int) -> AsyncIterator[bytes]:
    async for _ in _read_whole(blobs, blob):
        pass
    async for piece in blobs.read(blob.key, start, stop):
        yield piece


async def _read_whole(blobs: Blobs, blob: KnownBlob) -> AsyncIterator[bytes]:
    hasher, count, held = SegmentHasher(), 0, b""
    async for piece in blobs.read(blob.key):
        await asyncio.to_thread(hasher.update, piece)
        count += len(piece)
        if count > blob.size:
            break
        if held:
            yield held
        held = piece
    found = hasher.finish()
    if (found.bytes, found.sha256) != (blob.size, blob.sha256):
        raise _change(blob, "its bytes as a whole")
    if held:
        yield held


async def _cut(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yields the bytes of the pieces in segments. If there are none, yields one empty segment."""
    held, count = bytearray(), 0
    async for piece in pieces:
        if not held and len(piece) == SEGMENT:
            yield piece
            count += 1
            continue
        held += piece
        while len(held) >= SEGMENT:
            yield bytes(held[:SEGMENT])
            count += 1
            del held[:SEGMENT]
    if held or count == 0:
        yield bytes(held)


def _hash(data: bytes) -> bytes:
    return sha256(data).digest()


def _change(blob: KnownBlob, part: str) -> BlobChanged:
    log.error("blob_changed", key=blob.key, part=part)
    return BlobChanged(blob.key)
