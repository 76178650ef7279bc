"""Cross-origin requests of browsers, for the origins in EVERTHREAD_CORS_ORIGINS. Nothing is installed if there are
none.

API keys travel in headers and never in cookies, so credentials in the sense of CORS are not allowed, and `*` may stand
for every origin.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from aiohttp import web

from service.http.errors import Handler

ANY = "*"
METHODS = "GET, POST, DELETE"
# Headers that a page may send, in addition to those of the SDKs. Older SDKs set User-Agent, which Firefox and Safari
# send; the last three belong to a page's own traces.
_HEADERS = re.compile(
    r"(?i)authorization|api-key|content-type|accept|user-agent|idempotency-key|last-event-id"
    r"|(?:openai|everthread|x)-[a-z0-9-]+|traceparent|tracestate|baggage"
)
MAX_HEADERS = 64
EXPOSED = ", ".join(
    (
        "everthread-fork-origin",
        "everthread-read",
        "idempotent-replayed",
        "openai-organization",
        "openai-poll-after-ms",
        "openai-processing-ms",
        "openai-version",
        "retry-after",
        "retry-after-ms",
        "x-ratelimit-limit-requests",
        "x-ratelimit-limit-tokens",
        "x-ratelimit-remaining-requests",
        "x-ratelimit-remaining-tokens",
        "x-ratelimit-reset-requests",
        "x-ratelimit-reset-tokens",
        "x-request-id",
        "x-should-retry",
    )
)
MAX_AGE_S = 7200


def install(app: web.Application, origins: Sequence[str]) -> None:
    """Lets pages of these origins call the application. Must come before its other middlewares."""
    if not origins:
        return

    def allowed_origin(request: web.Request) -> str | None:
        origin = request.headers.get("Origin")
        if origin is None or not (ANY in origins or origin in origins):
            return None
        return ANY if ANY in origins else origin

    @web.middleware
    async def preflight(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.method != "OPTIONS" or "Access-Control-Request-Method" not in request.headers:
            return await handler(request)
        answer = web.Response(status=204)
        if allowed_origin(request) is not None:
            asked = request.headers.get("Access-Control-Request-Headers", "").split(",")[:MAX_HEADERS]
            named = [name.strip() for name in asked if _HEADERS.fullmatch(name.strip())]
            answer.headers["Access-Control-Allow-Methods"] = METHODS
            answer.headers["Access-Control-Max-Age"] = str(MAX_AGE_S)
            if named:
                answer.headers["Access-Control-Allow-Headers"] = ", ".join(named)
        return answer

    async def share(request: web.Request, response: web.StreamResponse) -> None:
        """Adds the headers to streams as well, whose headers are sent before any middleware sees the response."""
        if ANY not in origins:
            response.headers.add("Vary", "Origin")
        origin = allowed_origin(request)
        if origin is not None:
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Expose-Headers"] = EXPOSED

    app.middlewares.insert(0, preflight)
    app.on_response_prepare.append(share)
