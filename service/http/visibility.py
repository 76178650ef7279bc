"""Hides files and vector stores that are deleted from the objects that name them."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from events.references import Referrer, referenced_files, referenced_stores
from projections import files, vector_stores
from projections.rows import Page
from service.http.context import clock, connection, origin
from sql.connection import Connection


async def present(request: web.Request, db: Connection, shown: Referrer) -> Referrer:
    [found] = await _present(request, db, [shown])
    return found


async def present_written(request: web.Request, shown: Referrer) -> Referrer:
    """Returns an object that the request has just written. Uses no connection if it names no file and no store."""
    if not referenced_files(shown) and not referenced_stores(shown):
        return shown
    async with connection(request) as db:
        return await present(request, db, shown)


async def present_page(request: web.Request, db: Connection, page: Page[Referrer]) -> Page[Referrer]:
    return Page(await _present(request, db, page.items), page.more)


async def _present(request: web.Request, db: Connection, shown: Sequence[Referrer]) -> list[Referrer]:
    project_id, at = origin(request).project_id, clock(request).now()
    found = await files.keep_existing_files(db, project_id, shown, at)
    return await vector_stores.keep_existing_stores(db, project_id, found, at)
