"""Samples of projects, their API keys, and the reports of runs."""

from __future__ import annotations

from datetime import UTC, datetime

from events.objects import Json
from service.http.openapi.infer import Free
from service.wire import organization_projects as wire
from service.wire import organization_retention as retention
from service.wire import organization_runs as runs
from service.wire.organization_health import render_health
from service.wire.organization_usage import LISTS, UsageQuery, parse_usage_query

_MOMENT = datetime.fromtimestamp(1, UTC)


def organization_samples() -> dict[str, list[Json]]:
    """Returns samples by name."""
    keys = [_key(1, _MOMENT), _key(None, None)]
    return {
        "Project": [wire.render_project("proj_1", "n", _MOMENT)],
        "ProjectApiKey": keys,
        "NewProjectApiKey": [wire.render_new_key(key, "et-") for key in keys],
        "DeletedProjectApiKey": [wire.render_deleted_key("key_1")],
        "ProjectRetention": [retention.render_policy("proj_1", days, days) for days in (1, None)],
        "Hold": [_hold("thread_1", None, None), _hold(None, Free(k="v"), _MOMENT)],
        "OrganizationHealth": [
            render_health(
                [("database", "p", "unavailable"), ("views", "p", "degraded"), ("model", None, "unavailable")]
            ),
            render_health([("views", "p", "degraded")]),
            render_health([]),
        ],
        "RunsUsage": [
            runs.render_runs_page(_hours(more), {0: results}, {}) for more in (0, 1) for results in _results()
        ],
        "RunFailures": [runs.render_failures(_hours(0), _MOMENT, [_failure(status, name)]) for status, name in _FAILED],
    }


def _hold(thread_id: str | None, metadata: Free | None, ended_at: datetime | None) -> Json:
    return retention.render_hold(
        "hold_1",
        project_id="proj_1",
        thread_id=thread_id,
        metadata=metadata,
        reason="r",
        placed_at=_MOMENT,
        ended_at=ended_at,
    )


_FAILED = (("failed", "m"), ("incomplete", None), ("expired", None))


def _hours(more: int) -> UsageQuery:
    """Returns the query of a page of an hour, which is followed by `more` pages."""
    query = {"start_time": "0", "end_time": str(3600 * (1 + more)), "bucket_width": "1h", "limit": "1"}
    return parse_usage_query(query, dict.fromkeys(LISTS, ()), _MOMENT)


def _results() -> list[list[Json]]:
    counts = dict.fromkeys(("num_runs", "completed", "incomplete", "failed", "cancelled", "expired"), 1)
    return [
        [
            runs.render_runs_result(
                counts=counts,
                run_ms=times,
                wait_ms=times,
                project_id=name,
                key_id=name,
                model=name,
                assistant_id=name,
            )
        ]
        for times, name in (([1.0, 2.0, 3.0], "n"), (None, None))
    ]


def _failure(status: str, name: str | None) -> Json:
    return runs.render_failure(
        status=status,
        cause="server_error",
        runs=1,
        model=name,
        assistant_id=name,
        thread_id="thread_1",
        run_id="run_1",
        ended_at=_MOMENT,
    )


def _key(limit: int | None, at: datetime | None) -> Json:
    return wire.render_key(
        "key_1",
        name="n",
        scope="full",
        ending="wxyz",
        limits=dict.fromkeys(("requests_per_minute", "tokens_per_minute", "max_runs"), limit),
        created_at=_MOMENT,
        last_used_at=at,
        revoked_at=at,
    )
