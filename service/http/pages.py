"""Lists: from the query to a cursor, from a page to a response."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from aiohttp import web

from projections.rows import Cursor, Page
from service.http.deps import wire
from service.http.frame import answer

T = TypeVar("T")


def cursor(request: web.Request) -> Cursor:
    """Raises Rejected for a limit or an order that is none."""
    asked = wire(request).page(request.query)
    return Cursor(limit=asked.limit, order=asked.order, after=asked.after, before=asked.before)


def listing(request: web.Request, page: Page[T], render: Callable[[T], dict[str, Any]]) -> web.Response:
    return answer(wire(request).listing([render(item) for item in page.items], page.more))
