"""Checks the bytes of files against the hashes in the log."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256

from events import codec, leaves
from events.file import FileCreated
from service.audit.faults import Fault
from service.storage.base import BlobMissing, Blobs, StorageError
from sql import queries
from sql.connection import Connection

PAGE = 200

_SQL = queries("verify")


async def check_blobs(
    db: Connection, blobs: Blobs, stream_id: str | None, on_file: Callable[[int], None]
) -> list[Fault]:
    """Reads the bytes of all files, or of one. Calls `on_file` with the number of bytes of each.

    A file may be deleted meanwhile, so a fault counts only if the file still has these bytes afterwards.
    """
    faults, last = list[Fault](), ""
    while rows := await db.fetch(_SQL["blobs"], last, stream_id, PAGE):
        for row in rows:
            text = await _find_fault(blobs, row["blob"], row["content"], row["schema_version"], on_file)
            if text is not None and await db.fetchval(_SQL["has_blob"], row["file_id"], row["blob"]):
                faults.append(Fault(row["file_id"], None, text))
        last = rows[-1]["file_id"]
    return faults


async def _find_fault(
    blobs: Blobs, key: str, content: bytes, schema_version: int, on_file: Callable[[int], None]
) -> str | None:
    created = codec.load(leaves.content_json(content), schema_version)
    if not isinstance(created, FileCreated) or created.blob != key:
        return f"the bytes of the file are under the key {key}, but the log has another one"
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
    if (size, digest.hexdigest()) != (created.bytes, created.sha256):
        return f"the bytes of the file were changed: {key}"
    return None
