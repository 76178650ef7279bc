"""What is passed to the model upstream, so that one base URL serves a whole program.

/models, /chat/completions, /completions, /embeddings. The client's key is ours; the upstream's never leaves us.
Bytes of the answer are relayed as they come, and a client that leaves stops the call.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import structlog
from aiohttp import web

from service.http.bodies import decoded, raw_body
from service.http.context import ATTEMPT, KEY, REQUEST_ID, deps
from service.http.errors import ApiError, Handler, response
from service.http.responses import WRITE_TIMEOUT, ClientDisconnected, answer, headers
from service.http.usage_meter import Heard
from service.idempotency import Kept
from service.passthrough import PassthroughAnswer, PassthroughError, PassthroughRequest, Path

log = structlog.get_logger()

# Seconds between two looks whether the client is still there, while the upstream is silent.
LOOK_S = 0.2
MAX_MODEL_NAME = 256
_STREAM = "text/event-stream"


async def models(request: web.Request) -> web.Response:
    try:
        return answer({"object": "list", "data": await deps(request).relay.models()})
    except PassthroughError as error:
        return _failed(error)


async def model(request: web.Request) -> web.Response:
    try:
        return answer(await deps(request).relay.model(request.match_info["model"]))
    except PassthroughError as error:
        return _failed(error)


def post(path: Path) -> Handler:
    """A handler that passes a POST on to `path` of whichever upstream serves the model that the body names."""

    async def handler(request: web.Request) -> web.StreamResponse:
        raw = await raw_body(request)
        asked = _asked(path, request, decoded(raw, orjson.loads), raw)  # nothing of it is kept
        try:
            async with _while_connected(request), deps(request).relay.post(asked) as relayed:
                return await _relay(request, relayed, len(asked.raw))
        except PassthroughError as error:
            return _failed(error)
        except (ClientDisconnected, ConnectionError):
            log.info("a client left a call that was passed through", path=path)
            return web.Response(status=499)

    return handler


def _asked(path: Path, request: web.Request, asked: Any, raw: bytes) -> PassthroughRequest:
    """Azure's form names the model, there a deployment, in its path; the body's own is ignored then."""
    if not isinstance(asked, dict):
        raise ApiError(400, "The request body must be a JSON object.")
    name = request.match_info.get("deployment") or asked.get("model")
    if not isinstance(name, str) or not 0 < len(name) <= MAX_MODEL_NAME:
        raise ApiError(400, "you must provide a model parameter", param="model")
    return PassthroughRequest(path, name, asked, raw)


async def _relay(request: web.Request, relayed: PassthroughAnswer, length: int) -> web.StreamResponse:
    """Once it has begun an answer cannot become an error: a stream ends with one, anything else breaks off.

    What it used is taken from the key's limit, also where the client left; `length` is the request's, in bytes.
    """
    sent = web.StreamResponse(headers={**headers(request[REQUEST_ID], 1), "Content-Type": relayed.content_type})
    streams = relayed.content_type.startswith(_STREAM)
    if streams:
        sent.headers.update({"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
    sent.content_length = relayed.content_length
    await sent.prepare(request)
    heard = _listener(request, length, streams)
    try:
        return await _send(request, relayed, sent, heard)
    finally:
        if heard is not None:
            deps(request).limits.charge(request[KEY].id, heard.tokens)


def _listener(request: web.Request, length: int, streams: bool) -> Heard | None:
    """Nothing listens where nobody would want to know."""
    keeps = ATTEMPT in request
    if not keeps and request[KEY].tokens_per_minute is None:
        return None
    return Heard(length, streams=streams, keeps=keeps)


async def _send(
    request: web.Request, relayed: PassthroughAnswer, sent: web.StreamResponse, heard: Heard | None
) -> web.StreamResponse:
    streams = relayed.content_type.startswith(_STREAM)
    last = b"\n\n"
    try:
        async for chunk in relayed.chunks:
            if heard is not None:
                heard.take(chunk)
            async with asyncio.timeout(WRITE_TIMEOUT):
                await sent.write(chunk)
            last = (last + chunk)[-2:] if len(chunk) < 2 else chunk[-2:]
    except TimeoutError:
        # The client does not read: its place and the upstream's call are for others.
        _break_off(request)
        return sent
    except PassthroughError as error:
        log.warning("a call that was passed through broke", error=error.error["message"])
        if not (streams and last == b"\n\n" and relayed.content_length is None):
            _break_off(request)
            return sent
        await sent.write(b"data: " + orjson.dumps({"error": dict(error.error)}) + b"\n\n")
        await sent.write_eof()
        return sent
    await sent.write_eof()
    if heard is not None and heard.whole is not None:
        request[ATTEMPT].kept = Kept(200, {"Content-Type": relayed.content_type}, heard.whole)
    return sent


def _break_off(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


def _failed(error: PassthroughError) -> web.Response:
    failed = response(error.status, {"error": dict(error.error)})
    failed.headers.update(error.headers)
    return failed


@asynccontextmanager
async def _while_connected(request: web.Request) -> AsyncIterator[None]:
    """Ends its body with ClientDisconnected soon after the client has closed its connection or its key was revoked."""
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle

    def look() -> None:
        nonlocal timer
        if request.transport is None or request.transport.is_closing():
            scope.reschedule(loop.time())
        else:
            timer = loop.call_later(LOOK_S, look)

    timer = loop.call_later(LOOK_S, look)
    try:
        # Of an answer that has begun nothing else can be said than that it breaks off.
        with deps(request).keys.watch_revocation(request[KEY], lambda: _break_off(request)):
            async with asyncio.timeout(None) as scope:
                yield
    except TimeoutError:
        if scope.expired():
            raise ClientDisconnected from None
        raise
    finally:
        timer.cancel()


_chat, _complete, _embed = post("/chat/completions"), post("/completions"), post("/embeddings")
_DEPLOYMENT = "/openai/deployments/{deployment}"

PASSED = (
    web.get("/v1/models", models),
    web.get("/v1/models/{model:.+}", model),
    web.post("/v1/chat/completions", _chat),
    web.post("/v1/completions", _complete),
    web.post("/v1/embeddings", _embed),
    web.post(_DEPLOYMENT + "/chat/completions", _chat),
    web.post(_DEPLOYMENT + "/completions", _complete),
    web.post(_DEPLOYMENT + "/embeddings", _embed),
)
