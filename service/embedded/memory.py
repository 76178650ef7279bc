"""The size of the buffers of the embedded Postgres.

A search reads a vector index at thousands of places. A read from Postgres' own buffers takes a fraction of a
microsecond, and a read from the system's cache several. Buffers take memory only when they are used.
"""

from __future__ import annotations

import os
from pathlib import Path

MIB = 1 << 20
# The buffers get 1 / SHARE of the memory, within bounds in MiB. That is little compared with the memory of a model.
SHARE = 8
MIN_MIB, MAX_MIB = 128, 1024
# The memory limit of a container, in versions 2 and 1 of Linux' control groups.
_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def buffer_mib(total: int | None = None) -> int:
    """Returns the size of the buffers in MiB for `total` bytes of memory; by default that of this machine or
    container."""
    return min(MAX_MIB, max(MIN_MIB, (_total_memory() if total is None else total) // SHARE // MIB))


def _total_memory() -> int:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in _LIMITS:
        try:
            total = min(total, int(limit.read_text()))
        except (OSError, ValueError):  # the file is missing, or holds "max"
            continue
    return total
