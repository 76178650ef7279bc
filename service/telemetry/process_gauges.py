"""The memory and the file descriptors of this process, as the system counts them."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import psutil

_STATM = Path("/proc/self/statm")
_FILES = Path("/proc/self/fd")


def read_process_gauges() -> dict[str, float]:
    """Returns the gauges by their names in Prometheus' text format; none on a system without /proc."""
    try:
        pages = _STATM.read_text().split()
        files = len(os.listdir(_FILES))
    except OSError:
        return {}
    size = os.sysconf("SC_PAGE_SIZE")
    return {
        "process_virtual_memory_bytes": int(pages[0]) * size,
        "process_resident_memory_bytes": int(pages[1]) * size,
        "process_start_time_seconds": psutil.Process().create_time(),
        "process_open_fds": files,
        "process_max_fds": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
    }
