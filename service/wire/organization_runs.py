"""Renders GET /v1/organization/usage/runs and …/failures in the shapes of the original's usage, which has neither."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from events.objects import Json
from service.wire.organization_usage import UsageQuery, render_bucket_page

# Statuses of runs that have not ended.
ACTIVE = ("queued", "in_progress", "requires_action", "cancelling")
_PERCENTILES = ("p50", "p95", "p99")


def render_runs_result(
    *,
    counts: Mapping[str, int],
    run_ms: Sequence[float] | None,
    wait_ms: Sequence[float] | None,
    project_id: str | None,
    key_id: str | None,
    model: str | None,
    assistant_id: str | None,
) -> Json:
    """Returns the runs of one group in a bucket. `counts` has the number of all, and those by status."""
    return {
        "object": "organization.usage.runs.result",
        **counts,
        "run_ms": _render_percentiles(run_ms),
        "wait_ms": _render_percentiles(wait_ms),
        "project_id": project_id,
        "api_key_id": key_id,
        "model": model,
        "assistant_id": assistant_id,
    }


def render_runs_page(query: UsageQuery, results: Mapping[int, Sequence[Json]], active: Mapping[str, int]) -> Json:
    """Returns the page of buckets, with the number of runs that are active now by status."""
    return {**render_bucket_page(query, results), "active": {status: active.get(status, 0) for status in ACTIVE}}


def render_failure(
    *,
    status: str,
    cause: str,
    runs: int,
    model: str | None,
    assistant_id: str | None,
    thread_id: str,
    run_id: str,
    ended_at: datetime,
) -> Json:
    """Returns the runs that ended for a cause; the ids are those of the newest one."""
    return {
        "object": "organization.usage.failures.result",
        "status": status,
        "cause": cause,
        "num_runs": runs,
        "model": model,
        "assistant_id": assistant_id,
        "example": {"thread_id": thread_id, "run_id": run_id, "ended_at": int(ended_at.timestamp())},
    }


def render_failures(query: UsageQuery, counted_from: datetime, found: Sequence[Json]) -> Json:
    """Returns the list of failures. `counted_from` is the start, or later if the range has too many failed runs."""
    return {
        "object": "list",
        "start_time": query.start,
        "end_time": query.end,
        "counted_from": int(counted_from.timestamp()),
        "data": list(found),
    }


def _render_percentiles(values: Sequence[float] | None) -> dict[str, Any] | None:
    if values is None:
        return None
    return {name: max(0, round(value)) for name, value in zip(_PERCENTILES, values, strict=True)}
