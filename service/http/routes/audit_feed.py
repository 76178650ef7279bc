"""The operations of auditors."""

from __future__ import annotations

from service.http import audit_checks, audit_feed, audit_proofs, organization_audit
from service.http.route import UNVERSIONED, Route

ROUTES = (
    Route(
        "GET",
        "/v1/audit/events",
        audit_feed.page,
        "List the events of the log, or watch them as server-sent events",
        scope="audit",
        versions=UNVERSIONED,
        query=("audit",),
        can_stream=True,
    ),
    Route(
        "GET",
        "/v1/audit/events/{stream_id}/{version}/proof",
        audit_proofs.proof,
        "The proof that an event is in the log, as a file that is verified offline",
        scope="audit",
        versions=UNVERSIONED,
        query=("proof",),
        media="text/plain",
    ),
    Route(
        "GET",
        "/v1/audit/verification",
        audit_checks.verify,
        "Verify streams, views and the log of all projects, with the progress as server-sent events",
        scope="audit",
        versions=UNVERSIONED,
        media="text/event-stream",
    ),
    Route(
        "GET",
        "/v1/audit/erasures/{stream_id}",
        audit_checks.erasure,
        "Show what is left of a deleted object: its events, its key, and its forks",
        scope="audit",
        versions=UNVERSIONED,
    ),
    Route(
        "GET",
        "/v1/organization/audit_logs",
        organization_audit.page,
        "List acts of administration, in the shape of the original's audit logs",
        scope="audit",
        versions=UNVERSIONED,
        query=("audit_logs",),
    ),
)
