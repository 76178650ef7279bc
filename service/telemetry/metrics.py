"""Counts of this process, as plain numbers so that counting is cheap. `prometheus` renders them.

Runs, model calls and tokens are counted from the events that this process appends. Each event is appended by one
process, so sums over all processes are correct.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Protocol, assert_never

from events.envelope import RecordedEvent
from events.objects import RunStatus
from events.thread import events as e
from events.thread.run_status import TERMINAL
from events.thread.state import ThreadState
from events.vector_store import events as v
from service.telemetry.counters import Counters

# Bounds the runs and calls whose start is remembered, to measure their time.
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
_TOOL_CALLS: frozenset[type] = frozenset({e.ToolCallStarted, e.ToolCallFinished, e.ToolCallStopped})
# Events that are not counted. Each type of event of a thread is in exactly one of these tables (tests/test_readers.py).
_IGNORED: frozenset[type] = frozenset(
    {
        *(e.ThreadCreated, e.ThreadModified, e.ThreadDeleted, e.ThreadForked),
        *(e.MessageImported, e.RunImported, e.StepImported),
        *(e.MessageAdded, e.MessageWritten, e.MessageModified, e.MessageDeleted),
        *(e.RunAdmitted, e.RunModified, e.RunReviewed, e.RunClaimed, e.RunReleased),
        *(e.StepCreated, e.StepEnded, e.ToolOutputsSubmitted),
    }
)
# Events of a vector store that are not counted.
_IgnoredOfStore = (
    v.StoreLifeEvent
    | v.FilesAdded
    | v.FileAttributesChanged
    | v.FileRemoved
    | v.IndexingReleased
    | v.BatchCreated
    | v.BatchCancelled
)


class SandboxCounts(Protocol):
    """The sandboxes of code_interpreter here: open sessions, warm sandboxes, and sessions lost since the start."""

    @property
    def open_sessions(self) -> int: ...

    @property
    def warm_sandboxes(self) -> int: ...

    @property
    def lost_sessions(self) -> int: ...


class AttesterCounts(Protocol):
    """A witness or time stamp authority: the events that it has attested, and the requests that failed, in a row."""

    @property
    def size(self) -> int: ...

    @property
    def failures(self) -> int: ...


class StartTimes:
    """The time at which a run or a call last started, by key. Forgets the oldest beyond MAX_FOLLOWED."""

    def __init__(self) -> None:
        self._began: OrderedDict[str, tuple[RunStatus, datetime]] = OrderedDict()

    def start(self, run_id: str, status: RunStatus, at: datetime) -> None:
        """Remembers that the run entered the status."""
        self._began[run_id] = (status, at)
        if len(self._began) > MAX_FOLLOWED:
            self._began.popitem(last=False)

    def end(self, run_id: str) -> tuple[RunStatus, datetime] | None:
        """Forgets the run, and returns its status and when it began, or None if it is unknown."""
        return self._began.pop(run_id, None)

    def __len__(self) -> int:
        return len(self._began)


class Metrics(Counters):
    """A listener of the feed, and what request handlers count."""

    def __init__(self) -> None:
        super().__init__()
        self._statuses = StartTimes()
        self._calls = StartTimes()
        self._tool_calls = StartTimes()
        self._indexing = StartTimes()

    def on_thread_append(self, thread_id: str, recorded: Sequence[RecordedEvent[Any]], state: ThreadState) -> None:
        for entry in recorded:
            event_type = type(entry.event)
            if event_type in _IGNORED:
                continue
            if event_type in _STATUS:
                self._count_transition(entry.event.run_id, _STATUS[event_type], entry.at)
            elif event_type in _OUTCOMES:
                self._count_model_call(entry.event, _OUTCOMES[event_type], entry.at)
            elif event_type is e.ModelCallStarted:
                self._calls.start(entry.event.run_id, "in_progress", entry.at)
            elif event_type in _TOOL_CALLS:
                self._follow_tool_call(entry.event, entry.at)

    def on_store_append(self, store_id: str, recorded: Sequence[RecordedEvent[v.VectorStoreEvent]]) -> None:
        """Counts attempts at indexing that ended, by outcome, and their time."""
        for entry in recorded:
            match entry.event:
                case v.IndexingStarted(job=job):
                    self._indexing.start(f"{store_id} {job}", "in_progress", entry.at)
                case v.IndexingFinished(job=job, chunks=chunks):
                    self.chunks += chunks
                    self._count_indexing(f"{store_id} {job}", "completed", entry.at)
                case v.IndexingFailed(job=job):
                    self._count_indexing(f"{store_id} {job}", "failed", entry.at)
                case _:
                    _ignored: _IgnoredOfStore = entry.event

    def _count_indexing(self, key: str, outcome: str, at: datetime) -> None:
        self.indexed[outcome] += 1
        began = self._indexing.end(key)
        if began is not None:
            self.indexing_seconds.observe((at - began[1]).total_seconds())

    def _count_transition(self, run_id: str, status: RunStatus, at: datetime) -> None:
        self.runs[status] += 1
        before = self._statuses.end(run_id)
        if before is not None:
            self.in_status[before[0]].observe((at - before[1]).total_seconds())
        if status not in TERMINAL:
            self._statuses.start(run_id, status, at)

    def _follow_tool_call(self, event: e.ToolCallEvent, at: datetime) -> None:
        match event:
            case e.ToolCallStarted(run_id=run_id):
                self._tool_calls.start(run_id, "in_progress", at)
            case e.ToolCallFinished(run_id=run_id, outcome=outcome):
                self._count_tool_call(run_id, outcome, at)
            case e.ToolCallStopped(run_id=run_id):
                self._count_tool_call(run_id, "stopped", at)
            case _:
                assert_never(event)

    def _count_tool_call(self, run_id: str, outcome: str, at: datetime) -> None:
        self.tool_calls[outcome] += 1
        began = self._tool_calls.end(run_id)
        if began is not None:
            self.tool_call_seconds.observe((at - began[1]).total_seconds())

    def _count_model_call(
        self, event: e.ModelCallFinished | e.ModelCallFailed | e.ModelCallStopped, outcome: str, at: datetime
    ) -> None:
        self.calls[outcome] += 1
        began = self._calls.end(event.run_id)
        if began is not None:
            self.call_seconds.observe((at - began[1]).total_seconds())
        usage = event.usage
        self.tokens["prompt"] += usage.prompt_tokens
        self.tokens["completion"] += usage.completion_tokens
        self.tokens["cached"] += usage.cached_tokens
        self.tokens["reasoning"] += usage.reasoning_tokens
