"""Memory that the workers of one server share: places for work, buckets of limits, and the locks over them.

A worker may die at any moment. The system releases its locks then, and the parent its places (`release_process`). No
worker waits long for the lock of the memory: its holder may be frozen, so after LOCK_TRIES the work is done without it,
at the risk that one change is lost.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import mmap
import os
import struct
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from time import monotonic

# Tries to get the lock over the memory, which is held for microseconds.
LOCK_TRIES = 200
# Names that have locks of their own; names with the same number share one.
NAMED_LOCKS = 65_536
# Seconds between two tries to get such a lock.
LOCK_POLL_S = 0.005
MAX_POOLS = 64
# Seconds for which a process is taken to wait for a place after its last look for one.
WANT_S = 0.3
# Places that a pool can have.
MAX_PLACES = 2_048
# Entries of each table, and those next to each other in which one entry may be.
TABLE_ENTRIES = 16_384
NEIGHBOURS = 16

_NAME = struct.Struct("<8s")
_PLACE = struct.Struct("<I4x8s")
# A name, its value, and the time at which it was written (monotonic seconds, the same in all processes).
VALUE_SIZE = 24
_ENTRY = struct.Struct(f"<16s{VALUE_SIZE}sd")
_NO_NAME = bytes(16)
_POOLS_AT = 64
_PLACES_AT = _POOLS_AT + MAX_POOLS * _NAME.size
_TABLES_AT = _PLACES_AT + MAX_POOLS * MAX_PLACES * _PLACE.size
_TABLE_SIZE = TABLE_ENTRIES * _ENTRY.size
# The tables: two of buckets (`shared_buckets`), one of pools with callers that wait, and one of `shared_sessions`.
TABLES = 4
_WANTS = 2
SESSIONS = 3
SIZE = _TABLES_AT + TABLES * _TABLE_SIZE
# Bytes behind the memory whose locks are those of names. No memory is needed for them.
_NAMED_LOCKS_AT = SIZE


def create_memory() -> int:
    """Returns the descriptor of new shared memory, which child processes can inherit."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("everthread")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, SIZE)
    return descriptor


class SharedMemory:
    """The memory as one process sees it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.map = mmap.mmap(descriptor, SIZE)
        self._own_locks: dict[int, asyncio.Lock] = {}

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keeps other processes from changing the memory. Must not be held over an `await`."""
        has_lock = any(self._try_lock(0) for _ in range(LOCK_TRIES))
        try:
            yield
        finally:
            if has_lock:
                fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, 0)

    @asynccontextmanager
    async def hold(self, name: str) -> AsyncIterator[None]:
        """Holds the lock of a name within the context. Other processes and callers wait."""
        number = int.from_bytes(digest(name)[:4], "little") % NAMED_LOCKS
        async with self._own_locks.setdefault(number, asyncio.Lock()):
            while True:
                if self._try_lock(_NAMED_LOCKS_AT + number):
                    break
                await asyncio.sleep(LOCK_POLL_S)
            try:
                yield
            finally:
                fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, _NAMED_LOCKS_AT + number)

    def release_process(self, pid: int) -> None:
        """Frees the places of a process that has ended."""
        with self.lock():
            for at in range(_PLACES_AT, _TABLES_AT, _PLACE.size * MAX_PLACES):
                for place in range(MAX_PLACES):
                    offset = at + place * _PLACE.size
                    holder, _ = _PLACE.unpack_from(self.map, offset)
                    if holder == pid:
                        _PLACE.pack_into(self.map, offset, 0, bytes(8))

    def _try_lock(self, offset: int) -> bool:
        with suppress(OSError):
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, offset)
            return True
        os.sched_yield()
        return False


class SharedPlaces:
    """The places of one pool, over all workers. Implements `service.fair_places.PlaceTable`."""

    def __init__(self, memory: SharedMemory, name: str, total: int) -> None:
        """Raises ValueError if there are MAX_POOLS other pools, or if a pool cannot have so many places."""
        if total > MAX_PLACES:
            raise ValueError(f"more than {MAX_PLACES} places")
        self._memory = memory
        self._total = total
        self._at = _PLACES_AT + self._find_pool(name) * MAX_PLACES * _PLACE.size
        self._size = total * _PLACE.size
        self._wants, self._wanted = SharedTable(memory, _WANTS), digest(name)

    def free(self) -> int:
        """Returns the number of free places."""
        return sum(holder == 0 for holder, _ in self._places())

    def count(self, flow: str) -> int:
        """Returns the number of places that the flow holds in all workers."""
        mark = digest(flow)[:8]
        return sum(holder != 0 and name == mark for holder, name in self._places())

    def try_take(self, flow: str, reserve: int) -> bool:
        """Takes a place, if more than `reserve` are free or if one is free and the flow holds none."""
        mark = digest(flow)[:8]
        with self._memory.lock():
            places = list(self._places())
            free = [number for number, (holder, _) in enumerate(places) if holder == 0]
            has_place = any(holder != 0 and name == mark for holder, name in places)
            if len(free) <= (reserve if has_place else 0):
                return False
            _PLACE.pack_into(self._memory.map, self._at + free[0] * _PLACE.size, os.getpid(), mark)
            return True

    def release(self, flow: str) -> None:
        """Frees a place that the flow holds in this process."""
        own = (os.getpid(), digest(flow)[:8])
        with self._memory.lock():
            for number, place in enumerate(self._places()):
                if place == own:
                    _PLACE.pack_into(self._memory.map, self._at + number * _PLACE.size, 0, bytes(8))
                    return

    def want(self) -> None:
        """Shows other processes for WANT_S seconds that this one waits for a place."""
        with self._memory.lock():
            self._wants.put(self._wanted, struct.pack("<d", monotonic() + WANT_S))

    def is_wanted(self) -> bool:
        """Returns whether a process waits for a place."""
        with self._memory.lock():
            value = self._wants.get(self._wanted)
        return value is not None and bool(struct.unpack_from("<d", value)[0] > monotonic())

    def _places(self) -> Iterator[tuple[int, bytes]]:
        return _PLACE.iter_unpack(self._memory.map[self._at : self._at + self._size])

    def _find_pool(self, name: str) -> int:
        mark = digest(name)[:8]
        with self._memory.lock():
            for number in range(MAX_POOLS):
                offset = _POOLS_AT + number * _NAME.size
                (found,) = _NAME.unpack_from(self._memory.map, offset)
                if found == bytes(8):
                    _NAME.pack_into(self._memory.map, offset, mark)
                    return number
                if found == mark:
                    return number
        raise ValueError(f"more than {MAX_POOLS} pools of places")


class SharedTable:
    """Values of VALUE_SIZE bytes by name. The oldest entry gives way if a name finds no free one near its own.

    `get`, `put` and `delete` must be called within the memory's lock. A name is given as its `digest`.
    """

    def __init__(self, memory: SharedMemory, number: int) -> None:
        self._memory = memory
        self._at = _TABLES_AT + number * _TABLE_SIZE

    def get(self, name: bytes) -> bytes | None:
        """Returns the value of the name, or None if it has none."""
        for offset in self._offsets(name):
            found, value, _ = _ENTRY.unpack_from(self._memory.map, offset)
            if found == name:
                return bytes(value)
        return None

    def put(self, name: bytes, value: bytes) -> None:
        """Sets the value of the name."""
        ages: list[tuple[bool, float, int]] = []
        for offset in self._offsets(name):
            found, _, at = _ENTRY.unpack_from(self._memory.map, offset)
            ages.append((found != name, 0.0 if found == _NO_NAME else at, offset))
        _ENTRY.pack_into(self._memory.map, min(ages)[2], name, value, monotonic())

    def delete(self, name: bytes) -> None:
        """Removes the name."""
        for offset in self._offsets(name):
            if self._memory.map[offset : offset + len(name)] == name:
                _ENTRY.pack_into(self._memory.map, offset, _NO_NAME, b"", 0.0)

    def _offsets(self, name: bytes) -> Iterator[int]:
        start = int.from_bytes(name[:4], "little")
        for step in range(NEIGHBOURS):
            yield self._at + (start + step) % TABLE_ENTRIES * _ENTRY.size


def digest(name: str) -> bytes:
    """Returns 16 bytes that stand for the name."""
    return hashlib.blake2b(name.encode(), digest_size=16).digest()
