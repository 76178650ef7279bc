"""The table of routes at work: registers its entries with aiohttp, and finds the entry of a request."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import hdrs, web

from service.http import azure
from service.http.errors import Handler
from service.http.route import Access, Route
from service.wire.as_of import AT


class RouteTable:
    """All operations of an application, each under its own path and Azure's paths."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self.routes = tuple(routes)
        self._entries: dict[web.AbstractRoute, Route] = {}
        self._keyless = {route.path: route.access for route in routes if route.access in ("public", "local")}

    def register(self, router: web.UrlDispatcher) -> None:
        """Adds every operation to the router. An operation that answers GET answers HEAD too."""
        by_path: dict[str, list[Route]] = {}
        for route in self.routes:
            for path in (route.path, *azure.paths(route)):
                by_path.setdefault(path, []).append(route)
        for path, routes in by_path.items():
            resource = router.add_resource(path)
            for route in routes:
                for method in (hdrs.METH_GET, hdrs.METH_HEAD) if route.method == "GET" else (route.method,):
                    self._entries[resource.add_route(method, _handler_of(route))] = route

    def find(self, request: web.Request) -> Route | None:
        """Returns the entry that the request matched; None if its path is unknown (404) or has no such method (405)."""
        return self._entries.get(request.match_info.route)

    def access(self, request: web.Request) -> Access:
        """Returns the access that the request needs. If its method is wrong, that is the access of its path."""
        route = self.find(request)
        return route.access if route is not None else self._keyless.get(request.path, "key")


def _handler_of(route: Route) -> Handler:
    """Returns the handler of an entry: its handler of the past answers requests with the parameter `at`."""
    past = route.past
    if past is None:
        return route.handler

    async def handle(request: web.Request) -> web.StreamResponse:
        return await (past if AT in request.query else route.handler)(request)

    return handle
