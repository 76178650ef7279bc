"""The processor cores that this process may use."""

from __future__ import annotations

import math
import os
from pathlib import Path

# The quota of a container: microseconds of computing in each period, or "max".
_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def usable_cores(quota: Path = _QUOTA) -> int:
    """Returns the number of cores that the system assigns to this process, within the quota of its container."""
    cores = len(os.sched_getaffinity(0))
    try:
        microseconds, period = quota.read_text().split()
        return max(1, min(cores, math.floor(int(microseconds) / int(period))))
    except (OSError, ValueError):  # the file is missing, or holds "max"
        return cores
