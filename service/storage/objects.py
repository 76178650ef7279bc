"""Blobs in S3, Google Cloud Storage or Azure, through obstore. Credentials come from AWS_*, GOOGLE_*, AZURE_*.

A write that breaks off leaves no visible object. The bucket must delete the parts that were sent (on S3 by the rule
AbortIncompleteMultipartUpload).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Collection
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import BaseError
from obstore.store import ObjectStore, from_url

from service.storage.base import CHUNK, BlobMissing, StorageError, StoredBlob
from service.storage.segments import SegmentHasher

if TYPE_CHECKING:
    from obstore import GetOptions
    from obstore.store import ClientConfig

PAGE = 1000
# Size of a part in a multipart write: S3 accepts 10,000 parts, so 8 GB fit. Two parts in flight bound the memory of a
# write.
WRITE_PART = 8 * CHUNK
WRITES_AT_ONCE = 2
# Time of a whole request, including the reading of 8 GB. A hanging connection is detected earlier.
OPTIONS: ClientConfig = {
    "timeout": timedelta(hours=1),
    "connect_timeout": timedelta(seconds=10),
    "read_timeout": timedelta(seconds=60),
    "allow_http": True,
}


class ObjectBlobs:
    """Stores blobs under a URL such as s3://bucket/prefix. Raises StorageError if the URL is invalid."""

    def __init__(self, url: str) -> None:
        try:
            self._store: ObjectStore = from_url(url, client_options=OPTIONS)
        except (BaseError, ValueError) as error:
            raise StorageError(f"Cannot use {url}: {error}") from error

    async def write(self, key: str, chunks: AsyncIterator[bytes]) -> StoredBlob:
        hasher = SegmentHasher()
        writer = obstore.open_writer_async(self._store, key, buffer_size=WRITE_PART, max_concurrency=WRITES_AT_ONCE)
        async for chunk in chunks:
            hasher.update(chunk)
            await _write(key, writer.write(chunk))
        await _write(key, writer.close())
        return hasher.finish()

    async def read(self, key: str, start: int = 0, stop: int | None = None) -> AsyncIterator[bytes]:
        """See `Blobs.read`."""
        try:
            # A store refuses a range behind the end.
            if start > 0 and (await obstore.head_async(self._store, key))["size"] <= start:
                return
            found = await obstore.get_async(self._store, key, options=_range(start, stop))
            async for piece in found.stream(min_chunk_size=CHUNK):
                yield bytes(piece)
        except FileNotFoundError:
            raise BlobMissing(key) from None
        except (BaseError, OSError) as error:
            raise StorageError(f"Cannot read {key}: {error}") from error

    async def delete(self, keys: Collection[str]) -> None:
        for key in keys:
            try:
                await obstore.delete_async(self._store, key)
            except FileNotFoundError:
                continue
            except (BaseError, OSError) as error:
                raise StorageError(f"Cannot delete {key}: {error}") from error

    async def list_older(self, than: datetime) -> AsyncIterator[list[str]]:
        try:
            async for page in obstore.list(self._store, chunk_size=PAGE):
                yield [found["path"] for found in page if found["last_modified"] < than]
        except (BaseError, OSError) as error:
            raise StorageError(f"Cannot list: {error}") from error

    async def remove_unfinished(self) -> int:
        """See `Blobs.remove_unfinished`. An unfinished write has no object, and the bucket deletes its parts."""
        return 0


def _range(start: int, stop: int | None) -> GetOptions:
    if stop is not None:
        return {"range": (start, stop)}
    return {"range": {"offset": start}} if start > 0 else {}


async def _write(key: str, work: Awaitable[object]) -> None:
    """Raises StorageError if the write failed."""
    try:
        await work
    except (BaseError, OSError) as error:
        raise StorageError(f"Cannot write {key}: {error}") from error
