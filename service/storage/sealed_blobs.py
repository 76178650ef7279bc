"""Blobs that are encrypted in segments, so that a part of one is read without the rest.

Each blob has a data key of its own in the table `stream_keys`, under the name `blob:KEY`. A segment of SEGMENT plain
bytes is stored as a sealed value (`sql.seals`), whose additional data are the blob's key, the number of the segment and
whether it is the last one: a segment that was swapped, repeated, moved to another blob or cut off does not open. Sizes
and hashes are those of the plain bytes, as the log has them.

A blob is plain if it does not begin with the id of its key: it was written before the installation was encrypted.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection
from contextlib import AbstractAsyncContextManager, aclosing
from datetime import datetime

import asyncpg

from service.storage.base import BlobBroken, BlobMissing, Blobs, StorageError, StoredBlob
from service.storage.segments import SEGMENT, SegmentHasher
from sql import queries
from sql.connection import Connection, KeyStore, key_store
from sql.seals import KEY_ID_BYTES, MAGIC, OVERHEAD, ContentErased, SealBroken, StreamKey, is_sealed, key_id_of

# Bytes of a stored segment that is not the last one.
STORED_SEGMENT = SEGMENT + OVERHEAD
# Keys of blobs that are known to be sealed, so that a read of a part need not look at the first bytes.
MAX_KNOWN = 10_000
_HEAD = len(MAGIC) + KEY_ID_BYTES
_SQL = queries("stream_keys")


class SealedBlobs:
    """Encrypts the blobs of a store if the installation is encrypted. `acquire` lends a connection to the primary."""

    def __init__(self, store: Blobs, acquire: Callable[[], AbstractAsyncContextManager[Connection]]) -> None:
        self._store = store
        self._acquire = acquire
        self._known: OrderedDict[str, None] = OrderedDict()

    async def write(self, key: str, chunks: AsyncIterator[bytes]) -> StoredBlob:
        """See `Blobs.write`. The key is stored after the bytes, so that none remains of a write that failed."""
        async with self._acquire() as db:
            sealing, values = await _key_for_writing(db, key)
        if sealing is None:
            return await self._store.write(key, chunks)
        hasher = SegmentHasher()
        await self._store.write(key, _seal(sealing, key, chunks, hasher))
        if values is not None:
            await self._add_key(key, sealing, values)
        self._note(key)
        return hasher.finish()

    async def read(self, key: str, start: int = 0, stop: int | None = None) -> AsyncIterator[bytes]:
        """See `Blobs.read`. Raises BlobBroken if a sealed segment does not open."""
        sealed_by = await self._find_key(key)
        pieces = self._store.read(key, start, stop) if sealed_by is None else self._open(key, sealed_by, start, stop)
        async for piece in pieces:
            yield piece

    async def delete(self, keys: Collection[str]) -> None:
        """See `Blobs.delete`. The keys go first: what a crash leaves are bytes that cannot be read, for the sweep."""
        names = [name_of(key) for key in keys]
        try:
            async with self._acquire() as db:
                await db.execute(_SQL["delete_blob_keys"], names)
                if (store := key_store(db)) is not None:
                    for name in names:
                        store.forget(name)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise StorageError(f"Cannot delete the keys of blobs: {type(error).__name__}") from error
        for key in keys:
            self._known.pop(key, None)
        await self._store.delete(keys)

    def list_older(self, than: datetime) -> AsyncIterator[list[str]]:
        return self._store.list_older(than)

    async def remove_unfinished(self) -> int:
        """See `Blobs.remove_unfinished`."""
        return await self._store.remove_unfinished()

    async def is_plain(self, key: str) -> bool:
        """Whether the bytes under the key are not encrypted. Raises BlobMissing."""
        head = await self._read_head(key)
        if not is_sealed(head):
            return True
        async with self._acquire() as db:
            found = await _find(db, key)
        return found is None or found.id.hex() != key_id_of(head)

    async def seal(self, key: str) -> bool:
        """Encrypts the plain bytes under a key that exists. Its key is stored first: the bytes are replaced at once.

        Returns False, and changes nothing, if another process does so or has done so: two of them would replace the
        bytes under different keys, of which one is stored. Raises BlobMissing and StorageError.
        """
        async with self._acquire() as db:
            if not await db.fetchval(_SQL["try_lock_blob"], name_of(key)):
                return False
            try:
                if not await self.is_plain(key):
                    return False
                await self._replace(db, key)
            finally:
                await db.fetchval(_SQL["unlock_blob"], name_of(key))
        return True

    async def _replace(self, db: Connection, key: str) -> None:
        sealing, values = await _key_for_writing(db, key)
        assert sealing is not None
        if values is not None:
            await self._add_key(key, sealing, values)
        await self._store.write(key, _seal(sealing, key, self._store.read(key), SegmentHasher()))
        self._note(key)

    async def _add_key(self, key: str, sealing: StreamKey, values: tuple[object, ...]) -> None:
        async with self._acquire() as db:
            await db.execute(_SQL["add"], *(value for value in values))
            if (store := key_store(db)) is not None:
                store.keep(sealing)

    async def _find_key(self, key: str) -> StreamKey | None:
        """Returns the key of a sealed blob; None if it is plain. Raises BlobMissing, also if its key was destroyed."""
        if key in self._known:
            async with self._acquire() as db:
                found = await _find(db, key)
            if found is None:
                raise BlobMissing(key)
            return found
        head = await self._read_head(key)
        if not is_sealed(head):
            return None
        async with self._acquire() as db:
            found = await _find(db, key)
            if found is None and await _require_store(db).is_on(db):
                raise BlobMissing(key)
        if found is None or found.id.hex() != key_id_of(head):
            return None  # a file of a client that begins with MAGIC, from before the encryption
        self._note(key)
        return found

    async def _read_head(self, key: str) -> bytes:
        return b"".join([piece async for piece in self._store.read(key, 0, _HEAD)])

    def _note(self, key: str) -> None:
        self._known[key] = None
        self._known.move_to_end(key)
        while len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)

    async def _open(self, key: str, sealed_by: StreamKey, start: int, stop: int | None) -> AsyncIterator[bytes]:
        if stop is not None and stop <= start:
            return
        number, last = start // SEGMENT, None if stop is None else (stop - 1) // SEGMENT
        # One byte more shows whether the last segment that is asked for is the last one of the blob.
        end = None if last is None else (last + 1) * STORED_SEGMENT + 1
        async with aclosing(_cut(self._store.read(key, number * STORED_SEGMENT, end))) as segments:
            async for stored, is_last in segments:
                try:
                    plain = await asyncio.to_thread(sealed_by.open, stored, _place(key, number, is_last=is_last))
                except (ContentErased, SealBroken) as error:
                    raise BlobBroken(f"segment {number + 1} does not open") from error
                first = number * SEGMENT
                part = plain[max(0, start - first) : None if stop is None else stop - first]
                if part:
                    yield part
                number += 1
                if last is not None and number > last:
                    return


def name_of(key: str) -> str:
    """Returns the name under which the data key of a blob is in `stream_keys`."""
    return f"blob:{key}"


def _place(key: str, number: int, *, is_last: bool) -> tuple[object, ...]:
    return ("blobs", name_of(key), number, int(is_last), "bytes")


async def _find(db: Connection, key: str) -> StreamKey | None:
    name = name_of(key)
    return (await _require_store(db).find(db, [name])).get(name)


async def _key_for_writing(db: Connection, key: str) -> tuple[StreamKey | None, tuple[object, ...] | None]:
    """Returns the key of a blob, and the values of its row if it is new; no key if the installation is plain."""
    store = _require_store(db)
    if not await store.is_on(db):
        # As for `sql.shared_keys`: Postgres refuses no plain blob, so the newest epoch is read again.
        store.ask_again()
    writing = await store.for_writing(db, name_of(key), is_new=False)
    if writing is None:
        return None, None
    return writing.key, None if writing.operation is None else tuple(writing.operation.values)


def _require_store(db: Connection) -> KeyStore:
    store = key_store(db)
    assert store is not None, "a connection of service.database"
    return store


async def _seal(
    sealing: StreamKey, key: str, chunks: AsyncIterator[bytes], hasher: SegmentHasher
) -> AsyncIterator[bytes]:
    """Yields the sealed segments of the bytes, which it hashes. There is one at least, also if there are no bytes."""

    def work(plain: bytes, number: int, *, is_last: bool) -> bytes:
        hasher.update(plain)
        return sealing.seal(plain, _place(key, number, is_last=is_last))

    held, number = bytearray(), 0
    async for chunk in chunks:
        held += chunk
        while len(held) > SEGMENT:
            plain = bytes(held[:SEGMENT])
            del held[:SEGMENT]
            yield await asyncio.to_thread(work, plain, number, is_last=False)
            number += 1
    yield await asyncio.to_thread(work, bytes(held), number, is_last=True)


async def _cut(pieces: AsyncIterator[bytes]) -> AsyncGenerator[tuple[bytes, bool]]:
    """Yields the stored segments, each with whether nothing follows it."""
    held = bytearray()
    async for piece in pieces:
        held += piece
        while len(held) > STORED_SEGMENT:
            yield bytes(held[:STORED_SEGMENT]), False
            del held[:STORED_SEGMENT]
    if held:
        yield bytes(held), True
