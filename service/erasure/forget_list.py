"""The forget-list: the streams whose keys were destroyed, in a file outside the database.

A backup of the database has those keys, and a restore would put them back. The file is beside the key-encryption keys,
where no restore of the database touches it. One line a stream: its id, the id of its key, and the time.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

FORGET_LIST = "forgotten_streams"


class ForgetList:
    """The forget-list in the folder `audit` of the data directory. Lines are only added."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FORGET_LIST

    async def add(self, streams: Sequence[tuple[str, str]], at: datetime) -> None:
        """Adds streams with the ids of their keys, and returns when the lines are on the disk. Raises OSError."""
        lines = "".join(f"{stream_id} {key_id} {at.isoformat()}\n" for stream_id, key_id in streams)
        await asyncio.to_thread(self._append, lines.encode())

    def load(self) -> dict[str, str]:
        """Returns the ids of the keys that were destroyed, each with its stream. A line that is cut off is left out.

        Raises OSError.
        """
        found = dict[str, str]()
        if self.path.exists():
            for line in self.path.read_text(encoding="utf-8").splitlines():
                parts = line.split(" ")
                if len(parts) == 3:
                    found[parts[1]] = parts[0]
        return found

    def _append(self, lines: bytes) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            size = file.seek(0, os.SEEK_END)
            # A crash may have cut off the last line.
            if size and os.pread(file.fileno(), 1, size - 1) != b"\n":
                lines = b"\n" + lines
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())
