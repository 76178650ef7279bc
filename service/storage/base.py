"""What the rest asks of a store of bytes.

A key is written once and never again, and belongs to one file or one part of an upload. Whoever writes, writes first
and appends the event that owns the key after: a crash between leaves bytes that nobody owns, which a sweep removes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import structlog

log = structlog.get_logger()

# Bytes handed on at once; nothing holds more than a few of these of any file.
CHUNK = 1024 * 1024


class BlobMissing(Exception):
    """There are no bytes under the key."""


class StorageError(Exception):
    """The store does not do what it is asked to: no space, no access, not reachable."""


@dataclass(frozen=True, slots=True)
class Stored:
    bytes: int
    sha256: str


class Blobs(Protocol):
    async def write(self, key: str, chunks: AsyncIterator[bytes]) -> Stored:
        """All of `chunks` under `key`, durable when it returns. Whatever `chunks` raises is raised, and nothing stays.

        Raises StorageError.
        """
        ...

    def read(self, key: str) -> AsyncIterator[bytes]:
        """The bytes in pieces of about CHUNK. Raises BlobMissing before the first of them, StorageError."""
        ...

    async def delete(self, keys: Collection[str]) -> None:
        """Those of the keys that are there. Raises StorageError."""
        ...

    def older(self, than: datetime) -> AsyncIterator[list[str]]:
        """The keys last written before that moment, page by page. Raises StorageError."""
        ...


async def let_go(blobs: Blobs, keys: Collection[str]) -> None:
    """Deletes what no event owns any more; where the store refuses, the sweep will. What was done stays done."""
    try:
        await blobs.delete(keys)
    except StorageError as error:
        log.warning("bytes that nobody owns are left to the sweep", keys=len(keys), error=str(error))
