"""Reads the body of a request within bounds of size and time, and decodes it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import orjson
from aiohttp import web

from service.http.context import RAW, ROUTE
from service.http.errors import ApiError
from service.http.route import PassedBody
from service.wire import integers

# Most bytes of a body of JSON, and of one that is passed to a model, which may contain images.
MAX_BODY = 16 * 1024 * 1024
MAX_PASSED = 64 * 1024 * 1024
BODY_TIMEOUT = 60.0


async def json_body(request: web.Request) -> Any:
    """Returns the decoded body; None if it is empty. Raises ApiError if it is not JSON, too long or too slow."""
    return decode(await raw_body(request))


async def raw_body(request: web.Request) -> bytes:
    """Returns the body as it came, and again if it was read before.

    Raises ApiError if it is too long, too slow or broken.
    """
    if RAW not in request:
        is_passed = isinstance(request[ROUTE].body, PassedBody)
        request[RAW] = await _receive(request, MAX_PASSED if is_passed else MAX_BODY)
    return request[RAW]


async def _receive(request: web.Request, most: int) -> bytes:
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


def decode(raw: bytes, loads: Callable[[bytes], Any] = integers.parse_json) -> Any:
    """Returns the JSON of a body; None if it is empty. Raises ApiError if it is not JSON."""
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
