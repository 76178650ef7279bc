"""Hashes of the segments of a blob, by which a part of it is checked without a read of the rest.

A segment is SEGMENT bytes of the blob, from a multiple of SEGMENT on; the last one may be shorter. The list of a blob
is the base64 of the SHA-256 hashes of its segments, one behind the other. A blob of one segment needs no list: the hash
of the segment is that of the blob.
"""

from __future__ import annotations

import base64
from hashlib import sha256

from service.storage.base import StoredBlob

# Bytes of a segment. It is a part of the format of events (docs/log-format.md, "Files"), so it never changes. The list
# of the largest file, 8 GiB, has 256 KiB.
SEGMENT = 1024 * 1024
HASH_BYTES = 32


class SegmentHasher:
    """Hashes a blob and its segments while it is written. A blob of one segment is hashed once, a larger one twice."""

    def __init__(self) -> None:
        self._size = 0
        self._hashes: list[bytes] = []
        self._segment = sha256()
        # The hash of the whole blob, from its second segment on.
        self._whole = self._segment

    def update(self, piece: bytes) -> None:
        rest = memoryview(piece)
        while rest:
            place = self._size % SEGMENT
            if place == 0 and self._size > 0:
                self._begin_segment()
            part = rest[: SEGMENT - place]
            self._segment.update(part)
            if self._hashes:
                self._whole.update(part)
            self._size += len(part)
            rest = rest[len(part) :]

    def finish(self) -> StoredBlob:
        """Returns the size and the hashes of all bytes."""
        segments = None
        if self._hashes:
            segments = base64.b64encode(b"".join([*self._hashes, self._segment.digest()])).decode()
        return StoredBlob(self._size, self._whole.hexdigest(), segments)

    def _begin_segment(self) -> None:
        self._hashes.append(self._segment.digest())
        if len(self._hashes) == 1:
            self._whole = self._segment.copy()
        self._segment = sha256()


def count_segments(size: int) -> int:
    """Returns the number of segments of a blob of `size` bytes. An empty blob has one."""
    return max(1, -(-size // SEGMENT))


def load_hashes(size: int, hash: str, segments: str | None) -> list[bytes] | None:
    """Returns the hashes of the segments of a blob; None if only the hash of the whole blob is known.

    `hash` is the hash of the blob in hexadecimal, and `segments` its list, null if it has one segment or if older
    software wrote it. Raises ValueError if the list is not one of a blob of this size.
    """
    count = count_segments(size)
    if segments is None:
        return [bytes.fromhex(hash)] if count == 1 else None
    joined = base64.b64decode(segments, validate=True)
    if len(joined) != count * HASH_BYTES:
        raise ValueError(f"a list of {len(joined)} bytes for {count} segments")
    return [joined[at : at + HASH_BYTES] for at in range(0, len(joined), HASH_BYTES)]
