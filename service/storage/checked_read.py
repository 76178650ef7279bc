"""Reads blobs and compares them with the size and the hash that the log has of them."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator

import structlog

from service.storage.base import Blobs

log = structlog.get_logger()


class BlobChanged(Exception):
    """The bytes under the key are not those that were written: somebody changed or swapped them."""


async def read_checked(blobs: Blobs, key: str, *, size: int, sha256: str) -> AsyncIterator[bytes]:
    """Yields the bytes in pieces, as `Blobs.read` does. The last piece comes only if all bytes are the written ones.

    So a blob of one piece that was changed yields nothing, and a larger one ends too early. Raises BlobChanged, and the
    errors of `Blobs.read`.
    """
    digest, count, held = hashlib.sha256(), 0, b""
    async for piece in blobs.read(key):
        await asyncio.to_thread(digest.update, piece)
        count += len(piece)
        if count > size:
            break
        if held:
            yield held
        held = piece
    if (count, digest.hexdigest()) != (size, sha256):
        log.error("blob_changed", key=key)
        raise BlobChanged(key)
    if held:
        yield held
