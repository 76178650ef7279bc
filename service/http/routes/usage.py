"""Usage and costs, in the shapes of the original's administration API."""

from __future__ import annotations

from service.http import organization_usage
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
        "/v1/organization/costs",
        organization_usage.costs,
        "Sum the costs of model calls by day, project, key and line item",
        scope="read",
        versions=UNVERSIONED,
        query=("costs",),
    ),
)
