"""The folded state of a vector store: counters and times, the same size for one file and for ten thousand.

What its files are is known from the view and comes in with the command, at the version that is decided on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import assert_never

from events.envelope import RecordedEvent
from events.vector_store import events as e

STATE_SCHEMA = 2
DAY = 86_400
# Days after its last use that a store made for a thread expires (docs/behaviour.md, "Semantics").
THREAD_DAYS = 7
# In tokens: how a file is chunked where nothing is said.
DEFAULT_SIZE = 800
DEFAULT_OVERLAP = 400
# Uses within so many seconds of the last one are not worth an event: a store expires after days.
USE_EVERY = 60


@dataclass(frozen=True, slots=True)
class FileCounts:
    """Files by status, and the bytes of all of them."""

    in_progress: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    usage_bytes: int = 0

    @property
    def total(self) -> int:
        return self.in_progress + self.completed + self.failed + self.cancelled

    def moved(
        self, old: e.FileStatus | None, new: e.FileStatus | None, usage_bytes: int = 0, files: int = 1
    ) -> FileCounts:
        """With `files` files in another status (None: not there), and so many bytes more."""
        changes = {"usage_bytes": self.usage_bytes + usage_bytes}
        for status, step in ((old, -files), (new, files)):
            if status is not None:
                changes[status] = changes.get(status, getattr(self, status)) + step
        return replace(self, **changes)


@dataclass(frozen=True, slots=True)
class VectorStoreState:
    """`expires_after` in days; `jobs` is the last number given out."""

    id: str
    exists: bool = False
    expired: bool = False
    expires_after: int | None = None
    created_at: int = 0
    last_active_at: int = 0
    jobs: int = 0
    counts: FileCounts = FileCounts()

    @property
    def expires_at(self) -> int | None:
        return None if self.expires_after is None else self.last_active_at + self.expires_after * DAY


def evolve(state: VectorStoreState, recorded: RecordedEvent[e.VectorStoreEvent]) -> VectorStoreState:
    event = recorded.event
    match event:
        case e.VectorStoreCreated(expires_after=days):
            # The jobs of a store that had this id before count on: its leftovers must not pass for this one's.
            active = recorded.seconds
            return VectorStoreState(state.id, True, False, days, active, active, state.jobs)
        case e.VectorStoreModified(changes=changes):
            return replace(state, expires_after=changes["expires_after"]) if "expires_after" in changes else state
        case e.VectorStoreUsed():
            return replace(state, last_active_at=recorded.seconds)
        case e.VectorStoreExpired():
            counts = replace(_cancelled(state.counts, state.counts.in_progress), usage_bytes=0)
            return replace(state, expired=True, counts=counts)
        case e.VectorStoreDeleted():
            return VectorStoreState(state.id, jobs=state.jobs)
        case e.IndexingStarted(job=job):
            return replace(state, jobs=job)
        case e.EmbeddingModelChanged() | e.FileAttributesChanged() | e.BatchCreated():
            return state
        case e.FilesAdded() | e.FileRemoved() | e.IndexingFinished() | e.IndexingFailed() | e.BatchCancelled():
            return replace(state, counts=count_files(state.counts, event))
        case _:
            assert_never(event)


def is_use_worth_recording(created_at: int, last_active_at: int, at: datetime) -> bool:
    """Whether a use at that moment is to be remembered: a store's first always is, for to be made is no use."""
    seconds = int(at.timestamp())
    return seconds >= last_active_at + USE_EVERY or created_at == last_active_at < seconds


def count_files(
    counts: FileCounts,
    event: e.FilesAdded | e.FileRemoved | e.IndexingFinished | e.IndexingFailed | e.BatchCancelled,
) -> FileCounts:
    """`counts` behind an event. From none it is what the event changes, which may be below zero."""
    match event:
        case e.FilesAdded(files=files):
            for file in files:
                old = file.replaced
                counts = counts.moved(old.status if old else None, "in_progress", -old.usage_bytes if old else 0)
            return counts
        case e.FileRemoved(status=status, usage_bytes=usage_bytes):
            return counts.moved(status, None, -usage_bytes)
        case e.IndexingFinished(usage_bytes=usage_bytes):
            return counts.moved("in_progress", "completed", usage_bytes)
        case e.IndexingFailed():
            return counts.moved("in_progress", "failed")
        case e.BatchCancelled(cancelled=cancelled):
            return _cancelled(counts, cancelled)
        case _:
            assert_never(event)


def _cancelled(counts: FileCounts, files: int) -> FileCounts:
    return counts.moved("in_progress", "cancelled", files=files)
