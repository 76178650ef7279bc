"""The body of a request: read within its bounds of size and time, and decoded."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

import orjson
from aiohttp import web

from service.http import azure
from service.http.context import RAW
from service.http.errors import ApiError
from service.wire import integers

# Bytes of JSON; what is passed through may have images inside.
MAX_BODY = 16 * 1024 * 1024
MAX_PASSED = 64 * 1024 * 1024
BODY_TIMEOUT = 60.0
# What is passed through has no versions of its own.
_UNVERSIONED = re.compile(r"/(?:v1/(?:models|chat|completions|embeddings|deployments)|metrics)(?:/|$)")


async def json_body(request: web.Request) -> Any:
    """The decoded body; None where there is none. Raises ApiError for what is not JSON, too long or too slow."""
    return decoded(await raw_body(request))


async def raw_body(request: web.Request) -> bytes:
    """The body as it came, however often it is asked for. Raises ApiError where it is too long, too slow or broken."""
    if RAW not in request:
        request[RAW] = await _arrived(request, MAX_PASSED if unversioned(request) else MAX_BODY)
    return request[RAW]


async def _arrived(request: web.Request, most: int) -> bytes:
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            return await _read(request, most)
    except TimeoutError:
        raise ApiError(408, f"The request body did not arrive within {BODY_TIMEOUT:.0f} seconds.") from None
    except ConnectionError as error:
        raise ApiError(400, "The connection ended before the request body did.") from error
    except web.RequestPayloadError as error:
        raise ApiError(400, "The request body could not be read: it is not encoded as its headers say.") from error


async def _read(request: web.Request, most: int) -> bytes:
    too_long = ApiError(413, f"Maximum request body size {most} exceeded.")
    if (request.content_length or 0) > most:
        raise too_long
    pieces, size = [], 0
    async for piece in request.content.iter_any():
        size += len(piece)
        if size > most:
            raise too_long
        pieces.append(piece)
    return b"".join(pieces)


def decoded(raw: bytes, loads: Callable[[bytes], Any] = integers.parse_json) -> Any:
    """The JSON of a body; None where it is empty. Raises ApiError for what is not JSON."""
    if not raw.strip():
        return None
    try:
        return loads(raw)
    except orjson.JSONDecodeError as error:
        message = (
            "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP"
            f" library correctly. The API expects a JSON payload, but what was sent was not valid JSON: {error}.)"
        )
        raise ApiError(400, message) from error


def unversioned(request: web.Request) -> bool:
    return _UNVERSIONED.match(azure.plain(request.path)) is not None
