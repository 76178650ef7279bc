"""Operations that are passed to a model upstream, so that one base URL serves a whole program.

They are /models, /chat/completions, /completions and /embeddings. Clients send a key of this server; the upstream's key
never leaves it. The bytes of the answer are upstream as they come, and a client that leaves stops the call.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import structlog
from aiohttp import web

from service.http.bodies import decode, raw_body
from service.http.context import ATTEMPT, KEY, REQUEST_ID
from service.http.errors import ApiError
from service.http.responses import WRITE_TIMEOUT, ClientDisconnected, answer, headers
from service.http.services import ACCESS, PASSTHROUGH
from service.http.usage_meter import UsageMeter
from service.idempotency.keys import StoredAnswer
from service.passthrough import PassthroughAnswer, PassthroughError, PassthroughRequest, Path

log = structlog.get_logger()

# Seconds between two checks for a client that disconnected, while the upstream is silent.
CHECK_S = 0.2
MAX_MODEL_NAME = 256
_STREAM = "text/event-stream"


async def models(request: web.Request) -> web.Response:
    return answer({"object": "list", "data": await request.app[PASSTHROUGH].models()})


async def model(request: web.Request) -> web.Response:
    return answer(await request.app[PASSTHROUGH].model(request.match_info["model"]))


async def chat_completions(request: web.Request) -> web.StreamResponse:
    return await _pass_on(request, "/chat/completions")


async def completions(request: web.Request) -> web.StreamResponse:
    return await _pass_on(request, "/completions")


async def embeddings(request: web.Request) -> web.StreamResponse:
    return await _pass_on(request, "/embeddings")


async def _pass_on(request: web.Request, path: Path) -> web.StreamResponse:
    """Passes a POST on to `path` of the upstream that serves the model. Raises ApiError and PassthroughError."""
    raw = await raw_body(request)
    # orjson alone: the body is not stored, so numbers that Postgres would not take are allowed.
    upstream_request = _upstream_request(path, request, decode(raw, orjson.loads), raw)
    try:
        async with _while_connected(request), request.app[PASSTHROUGH].post(upstream_request) as upstream:
            return await _send_answer(request, upstream, len(raw))
    except (ClientDisconnected, ConnectionError):
        log.info("passthrough_client_disconnected", path=path)
        return web.Response(status=499)


def _upstream_request(path: Path, request: web.Request, body: Any, raw: bytes) -> PassthroughRequest:
    """Returns the request for the upstream. If the path names a deployment (Azure), that is the model.

    Raises ApiError if the body is no object or names no model.
    """
    if not isinstance(body, dict):
        raise ApiError(400, "The request body must be a JSON object.")
    name = request.match_info.get("deployment") or body.get("model")
    if not isinstance(name, str) or not 0 < len(name) <= MAX_MODEL_NAME:
        raise ApiError(400, "you must provide a model parameter", param="model")
    return PassthroughRequest(path, name, body, raw)


async def _send_answer(request: web.Request, upstream: PassthroughAnswer, length: int) -> web.StreamResponse:
    """Sends the upstream's answer, and charges its tokens to the key, also if the client leaves.

    An answer that has begun cannot become an error: a stream ends with an error, any other answer is broken off.
    `length` is that of the request's body, in bytes.
    """
    response = web.StreamResponse(headers={**headers(request[REQUEST_ID], 1), "Content-Type": upstream.content_type})
    streams = upstream.content_type.startswith(_STREAM)
    if streams:
        response.headers.update({"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
    response.content_length = upstream.content_length
    await response.prepare(request)
    meter = _usage_meter(request, length, streams)
    try:
        return await _write_answer(request, upstream, response, meter)
    finally:
        if meter is not None:
            request.app[ACCESS].limits.charge(request[KEY].id, meter.tokens)


def _usage_meter(request: web.Request, length: int, streams: bool) -> UsageMeter | None:
    """Returns None if nothing needs the usage or the whole answer."""
    keeps = ATTEMPT in request
    if not keeps and request[KEY].tokens_per_minute is None:
        return None
    return UsageMeter(length, streams=streams, keeps=keeps)


async def _write_answer(
    request: web.Request, upstream: PassthroughAnswer, response: web.StreamResponse, meter: UsageMeter | None
) -> web.StreamResponse:
    streams = upstream.content_type.startswith(_STREAM)
    last = b"\n\n"
    try:
        async for chunk in upstream.chunks:
            if meter is not None:
                meter.take(chunk)
            async with asyncio.timeout(WRITE_TIMEOUT):
                await response.write(chunk)
            last = (last + chunk)[-2:] if len(chunk) < 2 else chunk[-2:]
    except TimeoutError:
        # The client does not read. Breaking off frees its connection, and the upstream's.
        _break_off(request)
        return response
    except PassthroughError as error:
        log.warning("passthrough_failed", error=error.error["message"])
        if not (streams and last == b"\n\n" and upstream.content_length is None):
            _break_off(request)
            return response
        await response.write(b"data: " + orjson.dumps({"error": dict(error.error)}) + b"\n\n")
        await response.write_eof()
        return response
    await response.write_eof()
    if meter is not None and meter.content is not None:
        request[ATTEMPT].answer = StoredAnswer(200, {"Content-Type": upstream.content_type}, meter.content)
    return response


def _break_off(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


@asynccontextmanager
async def _while_connected(request: web.Request) -> AsyncIterator[None]:
    """Ends its body with ClientDisconnected soon after the client has closed its connection or its key was revoked."""
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle

    def check() -> None:
        nonlocal timer
        if request.transport is None or request.transport.is_closing():
            scope.reschedule(loop.time())
        else:
            timer = loop.call_later(CHECK_S, check)

    timer = loop.call_later(CHECK_S, check)
    try:
        # An answer that has begun can only be broken off.
        with request.app[ACCESS].keys.watch_revocation(request[KEY], lambda: _break_off(request)):
            async with asyncio.timeout(None) as scope:
                yield
    except TimeoutError:
        if scope.expired():
            raise ClientDisconnected from None
        raise
    finally:
        timer.cancel()
