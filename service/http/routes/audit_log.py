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
    Route(
        "GET",
        "/audit/log/epochs",
        audit_log.epochs,
        "The epochs of the audit log",
        scope="audit",
        versions=UNVERSIONED,
    ),
    Route(
        "GET",
        "/audit/log/epochs/{epoch}/checkpoint",
        audit_log.epoch_checkpoint,
        "The newest signed checkpoint of an epoch of the audit log",
        scope="audit",
        versions=UNVERSIONED,
        media="text/plain",
    ),
    Route(
        "GET",
        "/audit/log/epochs/{epoch}/tile/{tile:.+}",
        audit_log.epoch_tile,
        "A tile of hashes, or a bundle of entries, of an epoch of the audit log",
        scope="audit",
        versions=UNVERSIONED,
        media="application/octet-stream",
    ),
)
