"""Lists: parses the query into a cursor, and renders a page of objects."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

from aiohttp import web

from projections.metadata import Filter
from projections.rows import Cursor, Page
from service.http.context import wire
from service.http.responses import answer
from service.wire.as_of import AT
from service.wire.query import PAGING, parse_list_filters

# The parameters of lists beside their filters. Azure's clients add api-version.
KNOWN = PAGING | {"api-version", AT}
# Objects that are rendered in one turn of the event loop.
MAX_TURN_OBJECTS = 200
T = TypeVar("T")


def cursor(request: web.Request) -> Cursor:
    """Parses limit, order, after and before. Raises Rejection if one is invalid."""
    asked = wire(request).parse_list_query(request.query)
    return Cursor(limit=asked.limit, order=asked.order, after=asked.after, before=asked.before)


def parse_filter(request: web.Request, *, strict: bool = False, others: Collection[str] = ()) -> Filter:
    """Parses the filters of a list. `strict` refuses parameters that are neither filters nor those of a page, nor
    among `others`. Raises Rejection.
    """
    asked = parse_list_filters(request.query, {*KNOWN, *others} if strict else None)
    since, until = (None if at is None else datetime.fromtimestamp(at, UTC) for at in (asked.since, asked.until))
    return Filter(asked.metadata, since, until)


async def listing(request: web.Request, page: Page[T], render: Callable[[T], dict[str, Any]]) -> web.Response:
    return answer(wire(request).render_list(await render_all(page.items, render), page.more))


async def render_all(items: Sequence[T], render: Callable[[T], dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the rendered objects. Other work gets its turn of the event loop after every MAX_TURN_OBJECTS."""
    rendered: list[dict[str, Any]] = []
    for start in range(0, len(items), MAX_TURN_OBJECTS):
        await asyncio.sleep(0)
        rendered += map(render, items[start : start + MAX_TURN_OBJECTS])
    return rendered
