"""Objects as they are shown: without the files that are gone since."""

from __future__ import annotations

from aiohttp import web

from events.event import now
from events.file_links import Naming
from projections import files
from projections.rows import Page
from service.database import Connection
from service.http.deps import origin


async def present(request: web.Request, db: Connection, shown: Naming) -> Naming:
    [found] = await files.present(db, origin(request).project_id, [shown], now())
    return found


async def present_page(request: web.Request, db: Connection, page: Page[Naming]) -> Page[Naming]:
    return Page(await files.present(db, origin(request).project_id, page.items, now()), page.more)
