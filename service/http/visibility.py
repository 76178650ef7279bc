"""Hides files and vector stores that are deleted from the objects that name them."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from events.references import Naming
from projections import files, vector_stores
from projections.rows import Page
from service.http.context import clock, origin
from sql.connection import Connection


async def present(request: web.Request, db: Connection, shown: Naming) -> Naming:
    [found] = await _present(request, db, [shown])
    return found


async def present_page(request: web.Request, db: Connection, page: Page[Naming]) -> Page[Naming]:
    return Page(await _present(request, db, page.items), page.more)


async def _present(request: web.Request, db: Connection, shown: Sequence[Naming]) -> list[Naming]:
    project_id, at = origin(request).project_id, clock(request).now()
    found = await files.present(db, project_id, shown, at)
    return await vector_stores.present(db, project_id, found, at)
