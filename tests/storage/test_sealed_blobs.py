"""Blobs that are encrypted: what is stored, parts of them, changes, and blobs from before the encryption."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from service.database import connect
from service.files.blob_sealing import count_plain_blobs, encrypt_blobs
from service.secrets.encryption import begin_encryption
from service.secrets.key_ring import new_secret
from service.secrets.key_source import EncryptionKeySource
from service.storage.base import BlobBroken, BlobMissing, Blobs
from service.storage.folder import FolderBlobs
from service.storage.objects import ObjectBlobs
from service.storage.sealed_blobs import STORED_SEGMENT, SealedBlobs, name_of
from service.storage.segments import SEGMENT, SegmentHasher
from sql.connection import Connection
from sql.seals import MAGIC
from tests.clock import CLOCK
from tests.fixtures.postgres import ENCRYPTED
from tests.storage.moto import s3

CANARY = b"Pelargonium-7731"
LATER = timedelta(days=1)


async def chunks(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def read(blobs: Blobs, key: str, start: int = 0, stop: int | None = None) -> bytes:
    return b"".join([piece async for piece in blobs.read(key, start, stop)])


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Connection]:
    found = await connect(database_url)
    yield found
    await found.close()


async def encrypt(db: Connection, folder: Path) -> None:
    await begin_encryption(db, EncryptionKeySource(folder=folder), [new_secret()])
    db.key_store.ask_again()  # type: ignore[attr-defined]


@pytest.fixture(params=["folder", "s3"])
async def store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Blobs]:
    if request.param == "folder":
        yield FolderBlobs(tmp_path / "blobs")
        return
    async with s3(monkeypatch) as url:
        yield ObjectBlobs(url)


def over(store: Blobs, db: Connection) -> SealedBlobs:
    return SealedBlobs(store, lambda: nullcontext(db))


@pytest.mark.slow
async def test_a_sealed_blob_and_its_parts(store: Blobs, db: Connection, tmp_path: Path) -> None:
    await encrypt(db, tmp_path)
    blobs = over(store, db)
    for size in (0, 1, SEGMENT - 1, SEGMENT, SEGMENT + 1, 3 * SEGMENT, 3 * SEGMENT + 77):
        content = (CANARY + os.urandom(size))[:size]
        hasher = SegmentHasher()
        hasher.update(content)
        key = f"file-{size}"
        stored = await blobs.write(key, chunks(*[content[at : at + 300_007] for at in range(0, size, 300_007)]))
        assert stored == hasher.finish(), "the log has the hashes of the plain bytes"
        assert CANARY not in await read(store, key)
        for reader in (blobs, over(store, db)):  # one that knows the blob, and one that looks
            assert await read(reader, key) == content
            for start in (0, 1, SEGMENT - 1, SEGMENT, 2 * SEGMENT + 5):
                for stop in (None, start, start + 1, SEGMENT, 2 * SEGMENT, size, size + 9):
                    assert await read(reader, key, start, stop) == content[start:stop], (size, start, stop)


async def test_changed_segments_do_not_open(tmp_path: Path, db: Connection) -> None:
    await encrypt(db, tmp_path)
    store = FolderBlobs(tmp_path / "blobs")
    blobs = over(store, db)
    content = os.urandom(3 * SEGMENT)
    await blobs.write("file-1", chunks(content))
    await blobs.write("file-2", chunks(content))
    sealed, other = (tmp_path / "blobs" / "file-1").read_bytes(), (tmp_path / "blobs" / "file-2").read_bytes()
    first, second, third = (sealed[at : at + STORED_SEGMENT] for at in range(0, len(sealed), STORED_SEGMENT))
    flipped = third[:-1] + bytes([third[-1] ^ 1])
    for changed in (
        second + first + third,  # swapped
        first + first + third,  # repeated
        first + second,  # cut off at the end of a segment
        first + second + third[:-1],
        first + second + third + b"x",
        first + second + third + third,
        first + second + flipped,
        first + second + other[2 * STORED_SEGMENT :],  # of another blob
        first + second + content[2 * SEGMENT :],  # plain
    ):
        (tmp_path / "blobs" / "file-1").write_bytes(changed)
        with pytest.raises(BlobBroken):
            await read(blobs, "file-1")
    (tmp_path / "blobs" / "file-1").write_bytes(first + second + flipped)
    assert await read(blobs, "file-1", 0, 2 * SEGMENT) == content[: 2 * SEGMENT], "the others still open"


async def test_deletion_destroys_the_key(tmp_path: Path, db: Connection) -> None:
    """A copy of the blob folder from before the deletion cannot be read with the database after it."""
    await encrypt(db, tmp_path)
    store = FolderBlobs(tmp_path / "blobs")
    blobs = over(store, db)
    await blobs.write("file-1", chunks(CANARY))
    copy = await read(store, "file-1")
    await blobs.delete(["file-1", "file-9"])
    assert await db.fetchval("SELECT count(*) FROM stream_keys WHERE stream_id LIKE 'blob:%'") == 0
    await store.write("file-1", chunks(copy))
    for reader in (blobs, over(store, db)):
        with pytest.raises(BlobMissing):
            await read(reader, "file-1")


async def test_a_write_that_fails_leaves_no_key(tmp_path: Path, db: Connection) -> None:
    await encrypt(db, tmp_path)
    blobs = over(FolderBlobs(tmp_path / "blobs"), db)

    async def broken() -> AsyncIterator[bytes]:
        yield b"x" * (2 * SEGMENT)
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await blobs.write("file-1", broken())
    assert await db.fetchval("SELECT count(*) FROM stream_keys WHERE stream_id LIKE 'blob:%'") == 0
    with pytest.raises(BlobMissing):
        await read(blobs, "file-1")


@pytest.mark.skipif(ENCRYPTED, reason="the database is encrypted from its start")
async def test_blobs_from_before_are_read_and_encrypted(tmp_path: Path, db: Connection) -> None:
    """The sweep breaks off after the key of a blob was stored; the next one goes on."""
    store = FolderBlobs(tmp_path / "blobs")
    blobs = over(store, db)
    contents = {f"file-{number}": CANARY + os.urandom(SEGMENT * number) for number in range(3)}
    contents["file-like"] = MAGIC + bytes(8) + CANARY  # as if it was sealed
    for key, content in contents.items():
        stored = await blobs.write(key, chunks(content))
        assert stored.sha256 == hashlib.sha256(content).hexdigest()
        assert await read(store, key) == content, "a plain installation stores plain bytes"
        assert await read(blobs, key) == content
    await encrypt(db, tmp_path)
    until = CLOCK.now() + LATER
    assert await count_plain_blobs(blobs, until) == 4

    class Breaking(FolderBlobs):
        async def write(self, key: str, chunks: AsyncIterator[bytes]) -> Any:
            raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await over(Breaking(tmp_path / "blobs"), db).seal("file-1")
    assert await db.fetchval("SELECT count(*) FROM stream_keys WHERE stream_id = $1", name_of("file-1")) == 1
    assert await read(blobs, "file-1") == contents["file-1"], "still plain"
    assert [done async for done in encrypt_blobs(blobs, until)] == [1, 1, 1, 1]
    assert await count_plain_blobs(blobs, until) == 0
    for key, content in contents.items():
        assert CANARY not in await read(store, key)
        assert await read(blobs, key) == content
        assert await read(over(store, db), key) == content


async def test_two_commands_that_encrypt_the_same_blob_keep_its_bytes(
    tmp_path: Path, db: Connection, database_url: str
) -> None:
    """Each command waits behind its choice of a key until the other one has made its own, unless it may not go on."""
    store = FolderBlobs(tmp_path / "blobs")
    await store.write("one", chunks(CANARY))
    await encrypt(db, tmp_path)
    other = await connect(database_url)
    first, second = over(store, db), over(store, other)
    add_key = SealedBlobs._add_key

    async def seal_by_other(self: SealedBlobs, *values: Any) -> None:
        if self is first:
            await second.seal("one")
        await add_key(self, *values)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SealedBlobs, "_add_key", seal_by_other)
        await first.seal("one")
    await other.close()
    assert await read(over(store, db), "one") == CANARY
    assert not await over(store, db).seal("one")
    assert await read(over(store, db), "one") == CANARY
