"""The aiohttp application: the table of routes behind the middlewares, over the services that handlers work with."""

from __future__ import annotations

from aiohttp import web

from service.http import cors
from service.http.body_budget import BodyReader
from service.http.context import BODIES, ROUTE_TABLE
from service.http.errors import map_errors
from service.http.idempotency import idempotent
from service.http.middleware import authenticate, check_version, identify
from service.http.replica_reads import read_replica
from service.http.responses import send_added_headers
from service.http.route import LARGE_BODY
from service.http.routes import ROUTES
from service.http.routing import RouteTable
from service.http.services import Services
from service.http.shutdown import SHUTDOWN, Shutdown, close_at_shutdown
from service.http.tracing import Traces, tracing_middleware


def make_app(services: Services, traces: Traces | None) -> web.Application:
    """Returns the application. Requests have spans if there are `traces`."""
    app = web.Application(
        middlewares=[identify, map_errors, authenticate, idempotent, check_version, read_replica],
        client_max_size=LARGE_BODY.bytes,
    )
    if traces is not None:
        app.middlewares.insert(1, tracing_middleware(traces))
    cors.install(app, services.settings.cors_origins)
    services.install(app)
    app[SHUTDOWN] = Shutdown()
    app[BODIES] = BodyReader()
    app.on_response_prepare.append(send_added_headers)
    app.on_response_prepare.append(close_at_shutdown)
    app[ROUTE_TABLE] = RouteTable(ROUTES)
    app[ROUTE_TABLE].register(app.router)
    return app
