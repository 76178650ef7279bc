"""A temporary file with the events of an export, in which the events of each stream can be read one after another.

The export has the events of all streams in the order of the log. Their contents are secret, so the file is encrypted
under a key that only this process has. The system deletes it when the process closes it or dies.
"""

from __future__ import annotations

import os
import tempfile
from array import array
from collections.abc import Iterator
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from service.exports.layout import ExportedEvent, load_event

_KEY_BITS = 256
_TAG_BYTES = 16
_NONCE_BYTES = 12


class EventSpool:
    """The lines, each under its stream. Its methods block on the disk. `folder` is the folder of the file.

    Raises OSError.
    """

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - `close` closes it
        self._seal = AESGCM(AESGCM.generate_key(_KEY_BITS))
        self._end = 0
        # For each stream, the offset and the length of each line, in the order of the versions.
        self._places: dict[str, array[int]] = {}

    def close(self) -> None:
        """Removes the file."""
        self._file.close()

    def add(self, stream_id: str, line: bytes) -> None:
        """Adds the next event of a stream. The offset is its nonce: no two lines have the same one."""
        sealed = self._seal.encrypt(_nonce(self._end), line, None)
        self._file.write(sealed)
        self._places.setdefault(stream_id, array("Q")).extend((self._end, len(sealed)))
        self._end += len(sealed)

    def flush(self) -> None:
        """Makes the lines readable. Call it when all are added."""
        self._file.flush()

    def read(self, stream_id: str, start: int = 0, stop: int | None = None) -> Iterator[ExportedEvent]:
        """Yields the events of a stream from the place `start` to the one before `stop`; the first one has place 0."""
        places = self._places[stream_id]
        count = len(places) // 2
        for number in range(start, count if stop is None else min(stop, count)):
            offset, length = places[2 * number], places[2 * number + 1]
            sealed = os.pread(self._file.fileno(), length, offset)
            yield load_event(self._seal.decrypt(_nonce(offset), sealed, None))


def _nonce(offset: int) -> bytes:
    return offset.to_bytes(_NONCE_BYTES, "big")
