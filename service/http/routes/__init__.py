"""The table of routes: every operation of the API is one entry.

Add an operation as one entry in the module of its object in this package, and one handler in `service.http`.
"""

from __future__ import annotations

from service.http.route import Route
from service.http.routes import (
    assistants,
    audit_feed,
    audit_log,
    console,
    files,
    models,
    organization,
    retention,
    runs,
    server,
    threads,
    usage,
    vector_stores,
    webhook_endpoints,
)

ROUTES: tuple[Route, ...] = (
    *server.ROUTES,
    *files.ROUTES,
    *assistants.ROUTES,
    *threads.ROUTES,
    *runs.ROUTES,
    *vector_stores.ROUTES,
    *webhook_endpoints.ROUTES,
    *audit_feed.ROUTES,
    *usage.ROUTES,
    *organization.ROUTES,
    *retention.ROUTES,
    *models.ROUTES,
    *audit_log.ROUTES,
    *console.ROUTES,
)
