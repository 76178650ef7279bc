"""The workers that hold sandbox sessions of threads, so that a thread's runs come to the worker with its session."""

from __future__ import annotations

import os
import struct

from service.workers.shared_memory import SESSIONS, SharedMemory, SharedTable, digest

_PID = struct.Struct("<I")


class SharedSessions:
    """The holders of sessions, by thread."""

    def __init__(self, memory: SharedMemory) -> None:
        self._memory = memory
        self._holders = SharedTable(memory, SESSIONS)

    def own(self, thread_id: str) -> None:
        """Notes that this process holds the session of the thread."""
        with self._memory.lock():
            self._holders.put(digest(thread_id), _PID.pack(os.getpid()))

    def disown(self, thread_id: str) -> None:
        """Notes that this process holds no session of the thread any more."""
        with self._memory.lock():
            if self._find(thread_id) == os.getpid():
                self._holders.delete(digest(thread_id))

    def is_here(self, thread_id: str) -> bool:
        """Returns whether this process holds the session of the thread."""
        return self._find_locked(thread_id) == os.getpid()

    def is_elsewhere(self, thread_id: str) -> bool:
        """Returns whether another process that is alive holds the session of the thread."""
        holder = self._find_locked(thread_id)
        if holder is None or holder == os.getpid():
            return False
        try:
            os.kill(holder, 0)
        except OSError:
            return False
        return True

    def _find_locked(self, thread_id: str) -> int | None:
        with self._memory.lock():
            return self._find(thread_id)

    def _find(self, thread_id: str) -> int | None:
        value = self._holders.get(digest(thread_id))
        return None if value is None else int(_PID.unpack_from(value)[0])
