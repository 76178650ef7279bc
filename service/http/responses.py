"""What responses are made of: JSON bodies, and the headers that every response carries."""

from __future__ import annotations

from typing import Any

import orjson
from aiohttp import web

from service.http.context import wire

OPENAI_VERSION = "2020-10-01"
# Of answers that hold a secret: nobody on the way keeps them, and neither do we (service.http.idempotency).
NO_STORE = "no-store"
# Seconds that a client may take to read what fills its connection's buffers.
WRITE_TIMEOUT = 30.0


class ClientDisconnected(Exception):
    """The client closed its connection, or read nothing of an answer for WRITE_TIMEOUT seconds."""


def headers(request_id: str, elapsed_ms: float) -> dict[str, str]:
    return {
        "x-request-id": request_id,
        "openai-processing-ms": str(max(1, round(elapsed_ms))),
        "openai-version": OPENAI_VERSION,
    }


def answer(content: dict[str, Any], **extra: str) -> web.Response:
    """A JSON response with status 200; `extra` are headers, with underscores for dashes."""
    named = {name.replace("_", "-"): value for name, value in extra.items()}
    return web.Response(body=orjson.dumps(content), content_type="application/json", headers=named)


def includes(request: web.Request) -> frozenset[str]:
    """The values of include[] (or include), each known to the version. Raises Rejected for any other."""
    return wire(request).parse_include([*request.query.getall("include[]", []), *request.query.getall("include", [])])
