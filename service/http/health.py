"""GET /healthz: reports whether this process can serve, and which part has a problem. It needs no key."""

from __future__ import annotations

import orjson
from aiohttp import web

from service.http.hosts import is_local
from service.http.services import TELEMETRY


async def healthz(request: web.Request) -> web.Response:
    """Answers 200 if every required part is "ok", else 503, with the problem of each part.

    `status` is "ok", "unavailable" with 503, or "degraded" if a part has a problem with which requests can be served.
    Requests from this machine also get the state of each witness and time stamp authority, under "attesters", and the
    workers of this server with their process ids, under "workers".
    """
    parts = await request.app[TELEMETRY].health()
    failing = [part for part in parts.values() if part.problem is not None]
    well = not any(part.required for part in failing)
    status = "ok" if not any(part.degrades for part in failing) else "degraded"
    content: dict[str, object] = {
        "status": status if well else "unavailable",
        **{part: state.problem or "ok" for part, state in parts.items()},
    }
    if (attesters := request.app[TELEMETRY].attestations.describe()) and is_local(request):
        content["attesters"] = attesters
    if (workers := request.app[TELEMETRY].membership.workers) and is_local(request):
        content["workers"] = workers
    return web.Response(status=200 if well else 503, body=orjson.dumps(content), content_type="application/json")
