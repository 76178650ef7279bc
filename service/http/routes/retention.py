"""Policies of retention, and legal holds."""

from __future__ import annotations

from service.http import organization_retention as retention
from service.http.route import UNVERSIONED, JsonBody, Route
from service.wire.organization_retention import NewHold, RetentionRequest

_POLICY = "/v1/organization/projects/{project_id}/retention"
_HOLDS = "/v1/organization/holds"
_HOLD = _HOLDS + "/{hold_id}"

ROUTES = (
    Route(
        "GET",
        _POLICY,
        retention.get_policy,
        "Retrieve how long threads of a project are kept",
        scope="admin",
        versions=UNVERSIONED,
        answer="ProjectRetention",
    ),
    Route(
        "POST",
        _POLICY,
        retention.set_policy,
        "Set after how many idle days threads of a project are deleted, and for how many days deleted ones are kept",
        scope="admin",
        versions=UNVERSIONED,
        body=JsonBody.same(RetentionRequest),
        answer="ProjectRetention",
    ),
    Route(
        "GET",
        _HOLDS,
        retention.hold_page,
        "List legal holds",
        scope="admin",
        versions=UNVERSIONED,
        query=("organization", "holds"),
        answer="HoldList",
    ),
    Route(
        "POST",
        _HOLDS,
        retention.place_hold,
        "Place a legal hold on a thread, on threads by metadata, or on all threads of a project",
        scope="admin",
        versions=UNVERSIONED,
        body=JsonBody.same(NewHold),
        answer="Hold",
    ),
    Route(
        "GET", _HOLD, retention.get_hold, "Retrieve a legal hold", scope="admin", versions=UNVERSIONED, answer="Hold"
    ),
    Route("DELETE", _HOLD, retention.end_hold, "End a legal hold", scope="admin", versions=UNVERSIONED, answer="Hold"),
)
