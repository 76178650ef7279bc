"""The one table of routes: every operation of the API, as an entry that says all that the server needs to know of it.

An operation is added by one entry here and one handler in `service.http`.
"""

from __future__ import annotations

from service.http.route import Route
from service.http.routes import assistants, files, models, runs, server, threads, vector_stores, webhook_endpoints

ROUTES: tuple[Route, ...] = (
    *server.ROUTES,
    *files.ROUTES,
    *assistants.ROUTES,
    *threads.ROUTES,
    *runs.ROUTES,
    *vector_stores.ROUTES,
    *webhook_endpoints.ROUTES,
    *models.ROUTES,
)
