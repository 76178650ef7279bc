"""What this process counts. Plain numbers, so that counting costs next to nothing; `exposition` makes text of them.

Runs, model calls and tokens are counted from the events that this process appends: each is appended by one process, so
that sums over processes are right.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict, defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from events.envelope import Recorded
from events.objects import RunStatus
from events.thread import events as e
from events.thread.run_status import TERMINAL
from events.thread.state import ThreadState
from events.vector_store import events as v

# Upper bounds in seconds; a request may be a stream, and lasts until its end.
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
# Runs whose last transition is remembered, to tell how long they were in a status.
MAX_FOLLOWED = 10_000

_STATUS: dict[type, RunStatus] = {
    e.RunCreated: "queued",
    e.RunQueued: "queued",
    e.RunStarted: "in_progress",
    e.RunRequiresAction: "requires_action",
    e.RunCancelling: "cancelling",
    e.RunCancelled: "cancelled",
    e.RunCompleted: "completed",
    e.RunIncomplete: "incomplete",
    e.RunFailed: "failed",
    e.RunExpired: "expired",
}
_OUTCOMES: dict[type, str] = {
    e.ModelCallFinished: "finished",
    e.ModelCallFailed: "failed",
    e.ModelCallStopped: "stopped",
}


class Histogram:
    """`counts` has one place more than BUCKETS, for what is above them all."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(BUCKETS, value)] += 1
        self.total += value


class Followed:
    """When something last began, by run; forgets the oldest beyond MAX_FOLLOWED."""

    def __init__(self) -> None:
        self._began: OrderedDict[str, tuple[RunStatus, datetime]] = OrderedDict()

    def began(self, run_id: str, status: RunStatus, at: datetime) -> None:
        self._began[run_id] = (status, at)
        if len(self._began) > MAX_FOLLOWED:
            self._began.popitem(last=False)

    def ended(self, run_id: str) -> tuple[RunStatus, datetime] | None:
        return self._began.pop(run_id, None)

    def __len__(self) -> int:
        return len(self._began)


class Metrics:
    """A listener of the feed, and what request handlers count."""

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
        # Attempts to tell webhook endpoints of something, by outcome.
        self.webhooks: defaultdict[str, int] = defaultdict(int)
        self._statuses = Followed()
        self._calls = Followed()
        self._tool_calls = Followed()
        self._indexing = Followed()

    def served(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request was answered, and its stream has ended where it had one."""
        self.requests[method, route, status] += 1
        self.seconds[method, route].observe(seconds)

    def on_thread_append(self, thread_id: str, recorded: Sequence[Recorded[Any]], state: ThreadState) -> None:
        for entry in recorded:
            kind = type(entry.event)
            if kind in _STATUS:
                self._moved(entry.event.run_id, _STATUS[kind], entry.at)
            elif kind in _OUTCOMES:
                self._called(entry.event, _OUTCOMES[kind], entry.at)
            elif kind is e.ModelCallStarted:
                self._calls.began(entry.event.run_id, "in_progress", entry.at)
            elif kind is e.ToolCallStarted:
                self._tool_calls.began(entry.event.run_id, "in_progress", entry.at)
            elif kind is e.ToolCallFinished:
                self._used(entry.event.run_id, entry.event.outcome, entry.at)
            elif kind is e.ToolCallStopped:
                self._used(entry.event.run_id, "stopped", entry.at)

    def on_store_append(self, store_id: str, recorded: Sequence[Recorded[Any]]) -> None:
        """Attempts at indexing that ended: how, and how long they took."""
        for entry in recorded:
            match entry.event:
                case v.IndexingStarted(job=job):
                    self._indexing.began(f"{store_id} {job}", "in_progress", entry.at)
                case v.IndexingFinished(job=job, chunks=chunks):
                    self.chunks += chunks
                    self._indexed(f"{store_id} {job}", "completed", entry.at)
                case v.IndexingFailed(job=job):
                    self._indexed(f"{store_id} {job}", "failed", entry.at)
                case _:
                    pass

    def _indexed(self, key: str, outcome: str, at: datetime) -> None:
        self.indexed[outcome] += 1
        began = self._indexing.ended(key)
        if began is not None:
            self.indexing_seconds.observe((at - began[1]).total_seconds())

    def _moved(self, run_id: str, status: RunStatus, at: datetime) -> None:
        self.runs[status] += 1
        before = self._statuses.ended(run_id)
        if before is not None:
            self.in_status[before[0]].observe((at - before[1]).total_seconds())
        if status not in TERMINAL:
            self._statuses.began(run_id, status, at)

    def _used(self, run_id: str, outcome: str, at: datetime) -> None:
        self.tool_calls[outcome] += 1
        began = self._tool_calls.ended(run_id)
        if began is not None:
            self.tool_call_seconds.observe((at - began[1]).total_seconds())

    def _called(
        self, event: e.ModelCallFinished | e.ModelCallFailed | e.ModelCallStopped, outcome: str, at: datetime
    ) -> None:
        self.calls[outcome] += 1
        began = self._calls.ended(event.run_id)
        if began is not None:
            self.call_seconds.observe((at - began[1]).total_seconds())
        usage = event.usage
        self.tokens["prompt"] += usage.prompt_tokens
        self.tokens["completion"] += usage.completion_tokens
        self.tokens["cached"] += usage.cached_tokens
        self.tokens["reasoning"] += usage.reasoning_tokens
