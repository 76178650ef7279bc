"""Token buckets that all workers of a server share, and the buckets that their runs are charged to."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Protocol

from service.workers.shared_memory import SharedMemory, SharedTable, digest

_BUCKETS, _RUNS = 0, 1
_VALUE = struct.Struct("<ddd")


class SharableBucket(Protocol):
    """A bucket of one process (`service.access.rate_limits.Bucket`)."""

    limit: int
    at: float
    level: float

    def fill(self, at: float) -> None: ...


class SharedBuckets:
    """Buckets by name. The times of all processes are of the same clock: `time.monotonic`."""

    def __init__(self, memory: SharedMemory) -> None:
        self._memory = memory
        self._buckets = SharedTable(memory, _BUCKETS)
        self._runs = SharedTable(memory, _RUNS)

    @contextmanager
    def share(self, *named: tuple[str, SharableBucket | None]) -> Iterator[None]:
        """Gives the buckets the state that other processes left, and stores their state after the context."""
        buckets = [(digest(name), bucket) for name, bucket in named if bucket is not None]
        with self._memory.lock():
            for name, bucket in buckets:
                value = self._buckets.get(name)
                if value is not None:
                    bucket.level, bucket.at, _ = _VALUE.unpack(value)
            try:
                yield
            finally:
                for name, bucket in buckets:
                    self._buckets.put(name, _VALUE.pack(bucket.level, bucket.at, bucket.limit))

    def follow_run(self, run_id: str, name: str) -> None:
        """Remembers the bucket to which the run's units are charged."""
        with self._memory.lock():
            self._runs.put(digest(run_id), digest(name))

    def charge_run(self, run_id: str, units: int, at: float) -> None:
        """Takes units from the bucket of the run, if it has one."""
        with self._memory.lock():
            name = self._runs.get(digest(run_id))
            value = None if name is None else self._buckets.get(name[:16])
            if name is None or value is None:
                return
            level, since, limit = _VALUE.unpack(value)
            level = min(limit, level + (at - since) * limit / 60) - units
            self._buckets.put(name[:16], _VALUE.pack(level, at, limit))

    def forget_run(self, run_id: str) -> None:
        """Forgets the bucket of a run that has ended."""
        with self._memory.lock():
            self._runs.delete(digest(run_id))

    @asynccontextmanager
    async def hold(self, name: str) -> AsyncIterator[None]:
        """Holds the lock of the name within the context. Callers in all processes take turns."""
        async with self._memory.hold(name):
            yield
