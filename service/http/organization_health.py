"""GET /v1/organization/health: the health of this process for people, for keys with the scope `admin`.

GET /healthz is for load balancers: it needs no key and answers with a status of HTTP.
"""

from __future__ import annotations

from aiohttp import web

from service.http.responses import answer
from service.http.services import TELEMETRY
from service.telemetry.health import PartHealth
from service.wire.organization_health import HealthStatus, render_health


async def health(request: web.Request) -> web.Response:
    parts = await request.app[TELEMETRY].health()
    return answer(render_health((name, part.problem, _status(part)) for name, part in parts.items()))


def _status(part: PartHealth) -> HealthStatus:
    """Returns the status if the part has a problem. A part that is optional degrades the server for people."""
    return "unavailable" if part.required else "degraded"
