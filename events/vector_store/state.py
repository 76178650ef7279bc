"""The state of a vector store: counters and times, of the same size for one file and for ten thousand.

The facts about its files are read from the view, and come with the command at the version that it is decided on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import assert_never

from events.envelope import RecordedEvent
from events.vector_store import events as e

STATE_SCHEMA = 2
DAY = 86_400
# Days after the last use after which a vector store that was created for a thread expires (docs/behaviour.md,
# "Semantics").
THREAD_DAYS = 7
# In tokens: the chunking of a file if the request does not give one.
DEFAULT_SIZE = 800
DEFAULT_OVERLAP = 400
# Seconds after a recorded use during which further uses are not recorded, since vector stores expire after days.
USE_EVERY = 60


@dataclass(frozen=True, slots=True)
class FileCounts:
    """The number of files by status, and the bytes of all of them."""

    in_progress: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    usage_bytes: int = 0

    @property
    def total(self) -> int:
        return self.in_progress + self.completed + self.failed + self.cancelled

    def move(
        self, old: e.FileStatus | None, new: e.FileStatus | None, usage_bytes: int = 0, files: int = 1
    ) -> FileCounts:
        """Returns the counts after `files` files changed from status `old` to `new`, and the bytes by `usage_bytes`.

        A status of None means that the file is not in the vector store.
        """
        changes = {"usage_bytes": self.usage_bytes + usage_bytes}
        for status, step in ((old, -files), (new, files)):
            if status is not None:
                changes[status] = changes.get(status, getattr(self, status)) + step
        return replace(self, **changes)


@dataclass(frozen=True, slots=True)
class VectorStoreState:
    """`expires_after` in days; `jobs` is the last job number that was assigned."""

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
            # If a deleted vector store had this id, its job numbers continue, so that its leftovers are never taken for
            # those of this one.
            active = recorded.seconds
            return VectorStoreState(
                id=state.id,
                exists=True,
                expired=False,
                expires_after=days,
                created_at=active,
                last_active_at=active,
                jobs=state.jobs,
            )
        case e.VectorStoreModified(changes=changes):
            return replace(state, expires_after=changes["expires_after"]) if "expires_after" in changes else state
        case e.VectorStoreUsed():
            return replace(state, last_active_at=recorded.seconds)
        case e.VectorStoreExpired():
            counts = replace(_cancel_files(state.counts, state.counts.in_progress), usage_bytes=0)
            return replace(state, expired=True, counts=counts)
        case e.VectorStoreDeleted():
            return VectorStoreState(state.id, jobs=state.jobs)
        case e.IndexingStarted(job=job):
            return replace(state, jobs=job)
        case e.EmbeddingModelChanged() | e.FileAttributesChanged() | e.IndexingReleased() | e.BatchCreated():
            return state
        case e.FilesAdded() | e.FileRemoved() | e.IndexingFinished() | e.IndexingFailed() | e.BatchCancelled():
            return replace(state, counts=count_files(state.counts, event))
        case _:
            assert_never(event)


def is_use_worth_recording(created_at: int, last_active_at: int, at: datetime) -> bool:
    """Returns whether a use at time `at` is recorded as an event.

    The first use after the creation always is, since a creation is no use; later ones if USE_EVERY seconds have passed.
    """
    seconds = int(at.timestamp())
    return seconds >= last_active_at + USE_EVERY or created_at == last_active_at < seconds


def count_files(
    counts: FileCounts,
    event: e.FilesAdded | e.FileRemoved | e.IndexingFinished | e.IndexingFailed | e.BatchCancelled,
) -> FileCounts:
    """Returns `counts` after an event.

    If `counts` is all zero, the result is the change by the event, whose numbers may be negative.
    """
    match event:
        case e.FilesAdded(files=files):
            for file in files:
                old = file.replaced
                counts = counts.move(old.status if old else None, "in_progress", -old.usage_bytes if old else 0)
            return counts
        case e.FileRemoved(status=status, usage_bytes=usage_bytes):
            return counts.move(status, None, -usage_bytes)
        case e.IndexingFinished(usage_bytes=usage_bytes):
            return counts.move("in_progress", "completed", usage_bytes)
        case e.IndexingFailed():
            return counts.move("in_progress", "failed")
        case e.BatchCancelled(cancelled=cancelled):
            return _cancel_files(counts, cancelled)
        case _:
            assert_never(event)


def _cancel_files(counts: FileCounts, files: int) -> FileCounts:
    return counts.move("in_progress", "cancelled", files=files)
