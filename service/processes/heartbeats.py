"""Finds processes that are frozen: stopped by a signal, on a paused machine, or with an event loop that is blocked.

The connection of a frozen process stays open, and Postgres keeps its lock. But a process that works sends a query on
that connection every 0.2 s, and Postgres shows when it began: that is the process's heartbeat. No clocks are compared
and no time-out of the database counts, since only checks that succeeded are counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from time import monotonic

# A process is frozen if its heartbeat is the same in so many checks in a row, over so many seconds.
FROZEN_CHECKS = 5
FROZEN_AFTER_S = 1.4


class Heartbeats:
    """The last heartbeat of each process, and the checks that found no newer one."""

    def __init__(self) -> None:
        # For each process: its heartbeat, the time of the first check that found it, and the checks since.
        self._last: dict[int, tuple[datetime, float, int]] = {}

    def check(self, beats: Mapping[int, datetime | None]) -> frozenset[int]:
        """Returns the processes that are frozen. `beats` holds the current heartbeats, null if one is unknown."""
        at, last = monotonic(), {}
        for process, beat in beats.items():
            if beat is None:
                continue
            known = self._last.get(process)
            is_same = known is not None and known[0] == beat
            last[process] = (beat, known[1], known[2] + 1) if known is not None and is_same else (beat, at, 0)
        self._last = last
        return frozenset(
            process
            for process, (_, since, checks) in last.items()
            if checks >= FROZEN_CHECKS and at - since >= FROZEN_AFTER_S
        )
