"""The runs of this process that wait for their client's tool outputs, kept so that they are not read again.

A run's settings never change, so a kept run is as good as one that is read: executors too keep theirs to the end.
"""

from __future__ import annotations

from collections import OrderedDict

import orjson

from events.objects import Run

# Bytes of all kept runs together, by an estimate.
MAX_BYTES = 4 * 1024**2
# Estimates of the memory of a run without its settings, and of a byte of their JSON as objects.
_RUN_BYTES = 1_000
_JSON_FACTOR = 3


class PausedRuns:
    """A bounded cache of runs by id. If it is full, the run that has waited for longest is dropped."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self.bytes = 0
        self._max_bytes = max_bytes
        self._runs: OrderedDict[str, tuple[int, Run]] = OrderedDict()

    def put(self, run: Run) -> None:
        """Adds a run that pauses."""
        self.take(run.id)
        size = _RUN_BYTES + _JSON_FACTOR * len(orjson.dumps(run))
        self._runs[run.id] = size, run
        self.bytes += size
        while self.bytes > self._max_bytes:
            self.take(next(iter(self._runs)))

    def take(self, run_id: str) -> Run | None:
        """Removes and returns a run that continues."""
        size, run = self._runs.pop(run_id, (0, None))
        self.bytes -= size
        return run
