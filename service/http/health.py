"""GET /healthz: reports whether this process can serve, and which part has a problem. It needs no key."""

from __future__ import annotations

import orjson
from aiohttp import web

from service.http.services import TELEMETRY


async def healthz(request: web.Request) -> web.Response:
    """Answers 200 if every required part is "ok", else 503, with the problem of each part."""
    parts = await request.app[TELEMETRY].health()
    well = all(said.problem is None for said in parts.values() if said.required)
    content = {
        "status": "ok" if well else "unavailable",
        **{part: said.problem or "ok" for part, said in parts.items()},
    }
    return web.Response(status=200 if well else 503, body=orjson.dumps(content), content_type="application/json")
