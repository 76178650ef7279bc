"""Checks at start that the blob store and the database belong together.

The same random marker is in both. A process with another blob store would answer requests for files whose bytes it
lacks, and its sweep would delete the bytes of another database. The blob store holds the marker under the key MARKER,
so a copy of the whole folder or bucket keeps it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import structlog

from service.database import Pool
from service.errors import StartupError
from service.storage.base import BlobMissing, Blobs, StorageError
from service.storage.folder import UNFINISHED
from sql import queries

log = structlog.get_logger()

# The key of the marker in the blob store. No file and no part of an upload has this key.
MARKER = "everthread-database"
# Bytes of a marker that are read at most; more is no marker of ours.
MAX_MARKER = 200
# Seconds for the reads and writes in the blob store.
TIMEOUT_S = 30.0

_SQL = queries("blob_store")


async def check_blob_marker(pool: Pool, blobs: Blobs, *, place: str, new_marker: str) -> None:
    """Raises StartupError if the blob store at `place` belongs to another database, or cannot be used.

    If neither has a marker, both get `new_marker`. Processes that start at the same time agree on one marker.
    """
    try:
        async with asyncio.timeout(TIMEOUT_S):
            await _check(pool, blobs, place, new_marker)
    except StorageError as error:
        raise StartupError(f"The blob store {place} cannot be used: {error}") from error
    except TimeoutError:
        raise StartupError(f"The blob store {place} could not be checked within {TIMEOUT_S:.0f} s.") from None


async def _check(pool: Pool, blobs: Blobs, place: str, new_marker: str) -> None:
    expected = await pool.fetchval(_SQL["get"])
    if expected is None:
        expected = await _place(pool, blobs, place, new_marker)
    found = await _read(blobs)
    if found == expected:
        return
    relation = (
        "is not the one of this database: it has no marker"
        if found is None
        else f"belongs to another database: its marker is {found!r}, and that of this database is {expected!r}"
    )
    raise StartupError(
        f"The blob store {place} {relation}. All processes on a database need the same blob store. If this one"
        f" holds the files of this database, write the text {expected} to {place}/{MARKER} and start again."
    )


async def _place(pool: Pool, blobs: Blobs, place: str, new_marker: str) -> str:
    """Writes the marker of the database to the blob store if that has none, and returns it. Raises StorageError.

    The row is committed before the marker is written. After a crash in between, the next start continues here.
    """
    await pool.execute(_SQL["add"], new_marker)
    async with pool.acquire() as db, db.transaction():
        row = await db.fetchrow(_SQL["lock"])
        assert row is not None
        found = await _read(blobs)
        if found is None and not row["is_placed"]:
            await blobs.delete([MARKER + UNFINISHED])
            await blobs.write(MARKER, _pieces(row["marker"]))
            found = row["marker"]
            log.info("blob_store_marked", place=place)
        if found == row["marker"]:
            await db.execute(_SQL["set_placed"])
    return str(row["marker"])


async def _read(blobs: Blobs) -> str | None:
    """Returns the marker of the blob store, or None if it has none. Raises StorageError."""
    content = b""
    try:
        async for piece in blobs.read(MARKER):
            content += piece[: MAX_MARKER - len(content)]
    except BlobMissing:
        return None
    return content.decode(errors="replace").strip()


async def _pieces(text: str) -> AsyncIterator[bytes]:
    yield text.encode()
