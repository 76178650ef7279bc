"""Which threads a hold covers, until when a deleted thread is kept, and since when an idle one must have been idle.

Pure: no I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from projections.retention import Hold, Policy

# A thread's metadata, as they were after each change.
MetadataHistory = Sequence[Mapping[str, str]]


def covers(hold: Hold, project_id: str, thread_id: str, history: MetadataHistory) -> bool:
    """Whether the hold covers the thread, which had the metadata of `history` one after the other."""
    if hold.ended_at is not None or hold.project_id != project_id:
        return False
    if hold.thread_id is not None:
        return hold.thread_id == thread_id
    if hold.metadata is not None:
        return any(hold.metadata.items() <= metadata.items() for metadata in history)
    return True


def needs_metadata(holds: Iterable[Hold], project_id: str) -> bool:
    """Whether the metadata of the project's threads decide which hold covers them."""
    return any(hold.project_id == project_id and hold.metadata is not None for hold in holds)


def kept_until(policy: Policy, last_at: datetime) -> datetime:
    """Returns the time until which a deleted thread is kept, whose last event before the deletion was at `last_at`."""
    return last_at + timedelta(days=policy.keep_days or 0)


def idle_since(policy: Policy, now: datetime) -> datetime | None:
    """Returns the time since which a thread that is deleted now had no event; None if idle threads stay."""
    return None if policy.idle_days is None else now - timedelta(days=policy.idle_days)
