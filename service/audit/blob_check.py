"""Checks the bytes of files, and of the parts of open uploads, against the hashes in the log."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256

from events import codec, leaves
from events.file import FileCreated
from events.upload import UploadPartAdded
from service.audit.faults import Fault
from service.storage.base import BlobMissing, Blobs, StorageError
from sql import queries
from sql.connection import Connection

PAGE = 200

_SQL = queries("verify")


async def check_blobs(
    db: Connection, blobs: Blobs, stream_id: str | None, on_file: Callable[[int], None]
) -> list[Fault]:
    """Reads the bytes of all files and of the parts of open uploads, or those of one stream.

    Calls `on_file` with the number of bytes of each. A file may be deleted and an upload may end meanwhile, so a fault
    counts only if the file or the part still has these bytes afterwards.
    """
    faults, last = list[Fault](), ""
    while rows := await db.fetch(_SQL["blobs"], last, stream_id, PAGE):
        for row in rows:
            text = await _find_fault(blobs, row["blob"], row["content"], row["schema_version"], on_file)
            if text is not None and await db.fetchval(_SQL["has_blob"], row["file_id"], row["blob"]):
                faults.append(Fault(row["file_id"], None, text))
        last = rows[-1]["file_id"]
    return faults + await _check_parts(db, blobs, stream_id, on_file)


async def _check_parts(
    db: Connection, blobs: Blobs, stream_id: str | None, on_file: Callable[[int], None]
) -> list[Fault]:
    faults, last_stream, last_version = list[Fault](), "", 0
    while rows := await db.fetch(_SQL["part_events"], last_stream, last_version, stream_id, PAGE):
        for row in rows:
            with suppress(ValueError):  # the event was changed, which the check of its stream reports
                added = codec.load(leaves.content_json(row["content"]), row["schema_version"])
                if isinstance(added, UploadPartAdded):
                    text = await _compare(blobs, added.part_id, added.bytes, added.sha256, on_file)
                    if text is not None and await db.fetchval(_SQL["has_part"], row["stream_id"], added.part_id):
                        faults.append(Fault(row["stream_id"], row["version"], f"part {added.part_id}: {text}"))
        last_stream, last_version = rows[-1]["stream_id"], rows[-1]["version"]
    return faults


async def _find_fault(
    blobs: Blobs, key: str, content: bytes, schema_version: int, on_file: Callable[[int], None]
) -> str | None:
    created = codec.load(leaves.content_json(content), schema_version)
    if not isinstance(created, FileCreated) or created.blob != key:
        return f"the bytes of the file are under the key {key}, but the log has another one"
    return await _compare(blobs, key, created.bytes, created.sha256, on_file)


async def _compare(blobs: Blobs, key: str, bytes: int, hash: str, on_file: Callable[[int], None]) -> str | None:
    """Returns the fault of the bytes under the key; None if they are those with this number and hash."""
    digest, size = sha256(), 0
    try:
        async for chunk in blobs.read(key):
            digest.update(chunk)
            size += len(chunk)
    except BlobMissing:
        return f"the bytes of the file are missing: {key}"
    except StorageError as error:
        return f"the bytes of the file cannot be read: {error}"
    on_file(size)
    if (size, digest.hexdigest()) != (bytes, hash):
        return f"the bytes of the file were changed: {key}"
    return None
