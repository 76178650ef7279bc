"""The Protocol of a blob store.

A key is written once, and belongs to one file or to one part of an upload. The bytes are written first, and the event
that owns the key is appended afterwards. A crash between the two leaves bytes without an owner, which the sweep
deletes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import structlog

log = structlog.get_logger()

# Size of a piece in bytes. No more than a few pieces of a file are in memory at any time.
CHUNK = 1024 * 1024


class BlobMissing(Exception):
    """There are no bytes under the key."""


class BlobBroken(Exception):
    """Encrypted bytes under the key were changed, moved or cut off."""


class StorageError(Exception):
    """The blob store fails: no space, no access, or no connection."""


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """The size and the hashes of the bytes that were written. `segments` is the list of `service.storage.segments`."""

    bytes: int
    sha256: str
    segments: str | None = None


class Blobs(Protocol):
    async def write(self, key: str, chunks: AsyncIterator[bytes]) -> StoredBlob:
        """Writes all of `chunks` under `key`; they are durable when it returns.

        Raises StorageError, and any error of `chunks`. After an error nothing remains under the key.
        """
        ...

    def read(self, key: str, start: int = 0, stop: int | None = None) -> AsyncIterator[bytes]:
        """Yields the bytes from `start` up to `stop`, or up to the end, in pieces of about CHUNK.

        Yields fewer if the blob ends earlier. Raises BlobMissing before the first piece if there are no bytes under the
        key, and StorageError.
        """
        ...

    async def delete(self, keys: Collection[str]) -> None:
        """Deletes those of the keys that have bytes. Raises StorageError."""
        ...

    def list_older(self, than: datetime) -> AsyncIterator[list[str]]:
        """Yields the keys last written before that moment, page by page. Raises StorageError."""
        ...

    async def remove_unfinished(self) -> int:
        """Deletes the bytes of writes that a killed process left unfinished, and returns the number of keys.

        Writes of live processes are kept. Raises StorageError.
        """
        ...


async def delete_unowned(blobs: Blobs, keys: Collection[str]) -> None:
    """Deletes keys that no event owns any more. If the store fails, some keys may remain, and the sweep deletes them
    later.
    """
    try:
        await blobs.delete(keys)
    except StorageError as error:
        log.warning("blobs_left_to_sweep", keys=len(keys), error=str(error))
