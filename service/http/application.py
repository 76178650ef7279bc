"""The aiohttp application: the table of routes behind the middlewares, over what the handlers work with."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from service.http import cors
from service.http.bodies import MAX_BODY
from service.http.context import DEPS, ROUTE_TABLE, Deps
from service.http.errors import map_errors
from service.http.idempotency import idempotent
from service.http.middleware import authenticate, check_version, identify
from service.http.responses import send_added_headers
from service.http.routes import ROUTES
from service.http.routing import RouteTable
from service.http.tracing import Traces, traced


def make_app(deps: Deps, cors_origins: Sequence[str] = (), traces: Traces | None = None) -> web.Application:
    """Returns the application. `cors_origins` are the origins whose pages may call it."""
    app = web.Application(
        middlewares=[identify, map_errors, authenticate, idempotent, check_version], client_max_size=MAX_BODY
    )
    if traces is not None:
        app.middlewares.insert(1, traced(traces))
    cors.install(app, cors_origins)
    app[DEPS] = deps
    app.on_response_prepare.append(send_added_headers)
    app[ROUTE_TABLE] = RouteTable(ROUTES)
    app[ROUTE_TABLE].register(app.router)
    return app
