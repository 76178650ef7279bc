"""GET /healthz: whether this process can serve, and what is not well. It needs no key."""

from __future__ import annotations

import orjson
from aiohttp import web

from service.http.deps import deps


async def healthz(request: web.Request) -> web.Response:
    """200 with every part "ok", else 503 with what is wrong by part."""
    parts = await deps(request).health()
    well = all(wrong is None for wrong in parts.values())
    content = {"status": "ok" if well else "unavailable", **{part: wrong or "ok" for part, wrong in parts.items()}}
    return web.Response(status=200 if well else 503, body=orjson.dumps(content), content_type="application/json")
