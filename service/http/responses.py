"""The parts of responses: JSON bodies, and headers."""

from __future__ import annotations

from typing import Any

import orjson
from aiohttp import web

from service.http.context import ADDED_HEADERS, wire

OPENAI_VERSION = "2020-10-01"
# The original sends the name of the key's organization. A server of its own is one organization.
ORGANIZATION = "everthread"
# Cache-Control of answers that hold a secret. No cache keeps them, nor does service.http.idempotency.
NO_STORE = "no-store"
# Seconds that a client may take to read what fills its connection's buffers.
WRITE_TIMEOUT = 30.0


class ClientDisconnected(Exception):
    """The client closed its connection, or read nothing of an answer for WRITE_TIMEOUT seconds."""


def headers(request_id: str, elapsed_ms: float) -> dict[str, str]:
    """Returns the headers that every response carries."""
    return {
        "x-request-id": request_id,
        "openai-processing-ms": str(max(1, round(elapsed_ms))),
        "openai-version": OPENAI_VERSION,
        "openai-organization": ORGANIZATION,
    }


def add_headers(request: web.Request, headers: dict[str, str]) -> None:
    """Adds headers to the response that the request will get, whether it is an answer or an error."""
    request[ADDED_HEADERS] = {**request.get(ADDED_HEADERS, {}), **headers}


async def send_added_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Puts the headers of `add_headers` into a response that is about to be sent (a signal of aiohttp's)."""
    if ADDED_HEADERS in request:
        response.headers.update(request[ADDED_HEADERS])


def answer(content: dict[str, Any], **extra: str) -> web.Response:
    """Returns a JSON response with status 200. `extra` are headers, with underscores for dashes."""
    named = {name.replace("_", "-"): value for name, value in extra.items()}
    return web.Response(body=orjson.dumps(content), content_type="application/json", headers=named)


def includes(request: web.Request) -> frozenset[str]:
    """Returns the values of include[] (or include). Raises Rejection if the version does not know one of them."""
    return wire(request).parse_include([*request.query.getall("include[]", []), *request.query.getall("include", [])])
