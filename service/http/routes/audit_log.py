"""The log of the installation as static resources, in the layout of https://c2sp.org/tlog-tiles."""

from __future__ import annotations

from service.http import audit_log
from service.http.route import UNVERSIONED, Route

ROUTES = (
    Route(
        "GET",
        "/audit/log/checkpoint",
        audit_log.checkpoint,
        "The newest signed checkpoint of the audit log",
        scope="audit",
        versions=UNVERSIONED,
        media="text/plain",
    ),
    Route(
        "GET",
        "/audit/log/tile/{tile:.+}",
        audit_log.tile,
        "A tile of hashes, or a bundle of entries, of the audit log",
        scope="audit",
        versions=UNVERSIONED,
        media="application/octet-stream",
    ),
)
