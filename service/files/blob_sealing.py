"""Encrypts the blobs that were written before the installation was encrypted (`everthread encryption enable`)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime

from service.files.blob_marker import MARKER
from service.storage.base import BlobMissing
from service.storage.folder import UNFINISHED
from service.storage.sealed_blobs import SealedBlobs


async def encrypt_blobs(blobs: SealedBlobs, until: datetime) -> AsyncIterator[int]:
    """Encrypts the plain blobs, one after the other. Yields 1 for each. Raises StorageError.

    The bytes of a blob are replaced at once, so a sweep that was broken off goes on where it ended.
    """
    async for key in _plain_blobs(blobs, until):
        try:
            is_sealed_now = await blobs.seal(key)
        except BlobMissing:  # it was deleted meanwhile
            continue
        if is_sealed_now:
            yield 1


async def count_plain_blobs(blobs: SealedBlobs, until: datetime) -> int:
    """Returns the number of plain blobs that were written before that moment. Raises StorageError."""
    return sum([1 async for _ in _plain_blobs(blobs, until)])


async def _plain_blobs(blobs: SealedBlobs, until: datetime) -> AsyncIterator[str]:
    async for page in blobs.list_older(until):
        for key in page:
            if key == MARKER or key.endswith(UNFINISHED):
                continue
            try:
                is_plain = await blobs.is_plain(key)
            except BlobMissing:  # it was deleted meanwhile
                continue
            if is_plain:
                yield key
