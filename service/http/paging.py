"""Lists: from the query to a cursor, from a page to a response."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

from aiohttp import web

from projections.metadata import Filter
from projections.rows import Cursor, Page
from service.http.context import wire
from service.http.responses import answer
from service.wire.query import PAGING, filters

# Azure's clients add theirs.
KNOWN = PAGING | {"api-version"}
T = TypeVar("T")


def cursor(request: web.Request) -> Cursor:
    """Raises Rejected for a limit or an order that is none."""
    asked = wire(request).page(request.query)
    return Cursor(limit=asked.limit, order=asked.order, after=asked.after, before=asked.before)


def narrowed(request: web.Request, *, strict: bool = False) -> Filter:
    """What the list is filtered by. `strict` refuses parameters that are neither that nor a page's. Raises Rejected."""
    asked = filters(request.query, KNOWN if strict else None)
    since, until = (None if at is None else datetime.fromtimestamp(at, UTC) for at in (asked.since, asked.until))
    return Filter(asked.metadata, since, until)


def listing(request: web.Request, page: Page[T], render: Callable[[T], dict[str, Any]]) -> web.Response:
    return answer(wire(request).listing([render(item) for item in page.items], page.more))
