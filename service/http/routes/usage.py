"""Usage and costs, in the shapes of the original's administration API."""

from __future__ import annotations

from service.http import organization_runs, organization_usage
from service.http.route import UNVERSIONED, Route

ROUTES = (
    Route(
        "GET",
        "/v1/organization/usage/completions",
        organization_usage.completions,
        "Sum the tokens of model calls by time, project, key and model",
        scope="read",
        versions=UNVERSIONED,
        query=("usage",),
    ),
    Route(
        "GET",
        "/v1/organization/usage/runs",
        organization_runs.page,
        "Count runs by status, with percentiles of their times, by time, project, key, model and assistant",
        scope="read",
        versions=UNVERSIONED,
        query=("usage_runs",),
        answer="RunsUsage",
    ),
    Route(
        "GET",
        "/v1/organization/usage/failures",
        organization_runs.failures,
        "Count failed runs by cause, with an example each",
        scope="read",
        versions=UNVERSIONED,
        query=("failures",),
        answer="RunFailures",
    ),
    Route(
        "GET",
        "/v1/organization/costs",
        organization_usage.costs,
        "Sum the costs of model calls by day, project, key and line item",
        scope="read",
        versions=UNVERSIONED,
        query=("costs",),
    ),
)
