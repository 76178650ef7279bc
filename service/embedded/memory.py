"""How much memory the embedded Postgres may keep pages in.

An index of vectors is read at thousands of places a search: from Postgres' own buffers each costs a fraction of a
microsecond, from the system's cache several. Buffers take memory only once they are used.
"""

from __future__ import annotations

import os
from pathlib import Path

MIB = 1 << 20
# The share of this machine's memory, within bounds in MiB: little beside what a model takes.
SHARE = 8
LEAST, MOST = 128, 1024
# What a container may take, in version 2 and version 1 of Linux' control groups.
_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def buffers(total: int | None = None) -> int:
    """MiB of buffers for a machine of `total` bytes; of this one, as far as its container may take it, by default."""
    return min(MOST, max(LEAST, (_total() if total is None else total) // SHARE // MIB))


def _total() -> int:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in _LIMITS:
        try:
            total = min(total, int(limit.read_text()))
        except (OSError, ValueError):  # none here, or "max"
            continue
    return total
