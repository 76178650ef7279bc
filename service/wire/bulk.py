"""Parses and renders the deletion of many threads and the cancelling of many runs. The original has neither."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, Strict

from events.errors import Rejection
from events.objects import Json
from service.wire.fields import Flag, Identifier, Metadata, NestedObject, RequestBody
from service.wire.query import MAX_SECONDS
from service.wire.requests import parse_body

# Threads or runs of one request. The same request again goes on with the others.
MAX_BULK = 100
MAX_BULK_IDS = 100
CancellableStatus = Literal["queued", "in_progress", "requires_action"]
_Seconds = Annotated[int, Strict(), Field(ge=0, le=MAX_SECONDS)]
_Limit = Annotated[int, Strict(), Field(ge=1, le=MAX_BULK)]


class TimeRange(NestedObject):
    """Times of creation in Unix seconds."""

    gt: _Seconds | None = None
    gte: _Seconds | None = None
    lt: _Seconds | None = None
    lte: _Seconds | None = None


class BulkDeletion(RequestBody):
    """The threads to delete: those with all of `metadata` that were created in a range of time, or all."""

    metadata: Metadata | None = None
    created_at: TimeRange | None = None
    all: Flag = False
    dry_run: Flag = False
    limit: _Limit = MAX_BULK


class BulkCancellation(RequestBody):
    """The active runs to cancel: those of `statuses` and of `thread_ids`, or all."""

    statuses: Annotated[list[CancellableStatus], Field(fail_fast=True, min_length=1)] | None = None
    thread_ids: Annotated[list[Identifier], Field(fail_fast=True, min_length=1, max_length=MAX_BULK_IDS)] | None = None
    all: Flag = False
    dry_run: Flag = False
    limit: _Limit = MAX_BULK


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkDeletionRequest:
    """`since` and `until` are Unix seconds, None for no bound; `until` is not included."""

    metadata: tuple[tuple[str, str], ...]
    since: int | None
    until: int | None
    is_dry_run: bool
    limit: int


def parse_bulk_deletion(body: Any) -> BulkDeletionRequest:
    """Raises Rejection if the body is invalid, or chooses no threads."""
    asked = parse_body(BulkDeletion, body)
    times = asked.created_at or TimeRange()
    since = [bound + more for bound, more in ((times.gte, 0), (times.gt, 1)) if bound is not None]
    until = [bound + more for bound, more in ((times.lt, 0), (times.lte, 1)) if bound is not None]
    if not (asked.metadata or since or until or asked.all):
        raise Rejection(
            "Choose threads by 'metadata' or 'created_at', or all threads of the project by 'all': true.",
            param="all",
            code="missing_required_parameter",
        )
    return BulkDeletionRequest(
        metadata=tuple((asked.metadata or {}).items()),
        since=max(since, default=None),
        until=min(until, default=None),
        is_dry_run=asked.dry_run,
        limit=asked.limit,
    )


def parse_bulk_cancellation(body: Any) -> BulkCancellation:
    """Raises Rejection if the body is invalid, or chooses no runs."""
    asked = parse_body(BulkCancellation, body)
    if not (asked.statuses or asked.thread_ids or asked.all):
        raise Rejection(
            "Choose runs by 'statuses' or 'thread_ids', or all active runs of the project by 'all': true.",
            param="all",
            code="missing_required_parameter",
        )
    return asked


def render_bulk_deletion(
    ids: Sequence[str], *, is_dry_run: bool, matching: int, created_before: int, more: bool
) -> Json:
    """Returns the ids of the threads that were deleted, or would be; `matching` counts all of them before that."""
    return {
        "object": "thread.bulk_deletion",
        "dry_run": is_dry_run,
        "matching": matching,
        "created_before": created_before,
        "thread_ids": list(ids),
        "has_more": more,
    }


def render_bulk_cancellation(runs: Sequence[tuple[str, str]], *, is_dry_run: bool, matching: int, more: bool) -> Json:
    """Returns the runs that were cancelled, or would be, as pairs of a thread and a run."""
    return {
        "object": "thread.run.bulk_cancellation",
        "dry_run": is_dry_run,
        "matching": matching,
        "runs": [{"thread_id": thread_id, "run_id": run_id} for thread_id, run_id in runs],
        "has_more": more,
    }
