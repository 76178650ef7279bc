"""A span around every request, if traces are on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Protocol

from aiohttp import web
from aiohttp.typedefs import Middleware

from service.http.context import REQUEST_ID
from service.http.errors import Handler
from service.http.metrics import route_of


class Traces(Protocol):
    """Makes the spans. Handlers know only this Protocol."""

    def request(
        self, method: str, route: str, headers: Mapping[str, str], request_id: str
    ) -> AbstractContextManager[Callable[[int], None]]: ...


def tracing_middleware(traces: Traces) -> Middleware:
    """Returns the middleware. It must come behind the one that gives the request its id."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        method, pattern = route_of(request)
        with traces.request(method, pattern, request.headers, request[REQUEST_ID]) as answered:
            response = await handler(request)
            answered(response.status)
            return response

    return middleware
