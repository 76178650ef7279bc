"""The counters of one process, or the sums of those of several. `metrics` counts, and `prometheus` renders them."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from typing import Any, Self

from events.objects import RunStatus
from service.workers.counts import Counts

# Upper bounds in seconds. A streamed request lasts until the end of its stream.
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
# Stands between the parts of a key in counts that are sent to other processes. No method and no route contains it.
_SEPARATOR = " "


class Histogram:
    """Counts of values by bucket. `counts` has one more entry than BUCKETS, for values above the last bound."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Counts a value in seconds."""
        self.counts[bisect_left(BUCKETS, value)] += 1
        self.total += value

    def to_counts(self) -> Counts:
        """Returns the counts for another process."""
        return {"counts": list(self.counts), "total": self.total}

    @classmethod
    def from_counts(cls, counts: Counts) -> Self:
        """Returns the histogram of these counts."""
        histogram = cls()
        histogram.counts, histogram.total = list(counts["counts"]), counts["total"]
        return histogram


class Counters:
    """The numbers of requests, runs, calls and files, which only grow."""

    def __init__(self) -> None:
        self.requests: defaultdict[tuple[str, str, int], int] = defaultdict(int)
        self.seconds: defaultdict[tuple[str, str], Histogram] = defaultdict(Histogram)
        self.runs: defaultdict[RunStatus, int] = defaultdict(int)
        self.in_status: defaultdict[RunStatus, Histogram] = defaultdict(Histogram)
        self.calls: defaultdict[str, int] = defaultdict(int)
        self.call_seconds = Histogram()
        self.tokens: defaultdict[str, int] = defaultdict(int)
        self.tool_calls: defaultdict[str, int] = defaultdict(int)
        self.tool_call_seconds = Histogram()
        self.indexed: defaultdict[str, int] = defaultdict(int)
        self.indexing_seconds = Histogram()
        self.chunks = 0
        # Attempts to deliver webhooks, by outcome.
        self.webhooks: defaultdict[str, int] = defaultdict(int)
        # Sessions of code_interpreter that were lost, and threads that were verified after a run, by outcome.
        self.lost_sandboxes = 0
        self.run_checks: defaultdict[str, int] = defaultdict(int)
        self.cpu_s = 0.0

    def count_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Counts a request that was answered, after the end of its stream if it has one."""
        self.requests[method, route, status] += 1
        self.seconds[method, route].observe(seconds)

    def to_counts(self) -> dict[str, Any]:
        """Returns the counts for another process: `add_counts` adds them up."""
        return {
            "requests": {_SEPARATOR.join(map(str, key)): count for key, count in self.requests.items()},
            "seconds": {_SEPARATOR.join(key): found.to_counts() for key, found in self.seconds.items()},
            "in_status": {status: found.to_counts() for status, found in self.in_status.items()},
            **{name: dict(getattr(self, name)) for name in _BY_LABEL},
            **{name: getattr(self, name).to_counts() for name in _HISTOGRAMS},
            **{name: getattr(self, name) for name in _NUMBERS},
        }

    @classmethod
    def from_counts(cls, counts: Counts) -> Self:
        """Returns the counters of these counts. What they lack is 0."""
        counters = cls()
        for key, count in counts.get("requests", {}).items():
            method, route, status = key.split(_SEPARATOR)
            counters.requests[method, route, int(status)] = count
        for key, histogram in counts.get("seconds", {}).items():
            method, route = key.split(_SEPARATOR)
            counters.seconds[method, route] = Histogram.from_counts(histogram)
        for status, histogram in counts.get("in_status", {}).items():
            counters.in_status[status] = Histogram.from_counts(histogram)
        for name in _BY_LABEL:
            getattr(counters, name).update(counts.get(name, {}))
        for name in _HISTOGRAMS:
            if name in counts:
                setattr(counters, name, Histogram.from_counts(counts[name]))
        for name in _NUMBERS:
            setattr(counters, name, counts.get(name, 0))
        return counters


_BY_LABEL = ("runs", "calls", "tokens", "tool_calls", "indexed", "webhooks", "run_checks")
_HISTOGRAMS = ("call_seconds", "tool_call_seconds", "indexing_seconds")
_NUMBERS = ("chunks", "lost_sandboxes", "cpu_s")
