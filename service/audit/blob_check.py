"""Checks the bytes of files, and of the parts of open uploads, against the hashes in the log."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from events import codec, leaves
from events.file import FileCreated
from events.upload import UploadPartAdded
from service.audit.faults import Fault
from service.storage.base import BlobBroken, BlobMissing, Blobs, StorageError, StoredBlob
from service.storage.checked_read import KnownBlob
from service.storage.segments import SEGMENT, SegmentHasher, load_hashes
from sql import queries
from sql.connection import Connection

PAGE = 200
# Changed segments of a file that its fault names.
MAX_SEGMENTS = 5

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
                    part = KnownBlob(key=added.part_id, size=added.bytes, sha256=added.sha256, segments=added.segments)
                    text = await _compare(blobs, part, on_file)
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
    blob = KnownBlob(key=key, size=created.bytes, sha256=created.sha256, segments=created.segments)
    return await _compare(blobs, blob, on_file)


async def _compare(blobs: Blobs, blob: KnownBlob, on_file: Callable[[int], None]) -> str | None:
    """Returns the fault of the bytes under the key; None if they are those of the log."""
    hasher = SegmentHasher()
    try:
        async for chunk in blobs.read(blob.key):
            hasher.update(chunk)
    except BlobMissing:
        return f"the bytes of the file are missing: {blob.key}"
    except BlobBroken as error:
        return f"the bytes of the file were changed: {blob.key}, {error}"
    except StorageError as error:
        return f"the bytes of the file cannot be read: {error}"
    found = hasher.finish()
    on_file(found.bytes)
    if (found.bytes, found.sha256) == (blob.size, blob.sha256) and blob.segments in (None, found.segments):
        return None
    return f"the bytes of the file were changed: {blob.key}{_name_segments(blob, found)}"


def _name_segments(blob: KnownBlob, found: StoredBlob) -> str:
    """Returns the segments that differ, as the end of a sentence; "" if the log does not have their hashes."""
    try:
        expected = load_hashes(blob.size, blob.sha256, blob.segments)
    except ValueError:
        return ", and the log's list of its segments is not one"
    if blob.segments is None or expected is None:
        return ""
    there = load_hashes(found.bytes, found.sha256, found.segments) or []
    wrong = [place for place, hash in enumerate(expected) if there[place : place + 1] != [hash]]
    named = ", ".join(_name_segment(place, blob.size) for place in wrong[:MAX_SEGMENTS])
    more = f" and {len(wrong) - MAX_SEGMENTS} more" if len(wrong) > MAX_SEGMENTS else ""
    added = f", {found.bytes - blob.size} bytes behind its end" if found.bytes > blob.size else ""
    return (f", of its {len(expected)} segments {named}{more}" if wrong else "") + added


def _name_segment(place: int, size: int) -> str:
    return f"{place + 1} (bytes {place * SEGMENT} to {min(size, (place + 1) * SEGMENT) - 1})"
