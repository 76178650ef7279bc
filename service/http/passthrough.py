"""Operations that are passed to a model upstream, so that one base URL serves a whole program.

They are /models, /chat/completions, /completions and /embeddings. Clients send a key of this server; the upstream's key
never leaves it. The bytes of the answer are upstream as they come, and a client that leaves stops the call.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

import orjson
import structlog
from aiohttp import web

from service.http.bodies import not_json, receive_body
from service.http.context import ATTEMPT, KEY, REQUEST_ID, ReceivedBody
from service.http.errors import ApiError
from service.http.responses import ClientDisconnected, answer, headers
from service.http.services import ACCESS, PASSTHROUGH
from service.http.stream_sender import StreamSender
from service.http.usage_meter import UsageMeter
from service.idempotency.keys import StoredAnswer
from service.passthrough import PassthroughAnswer, PassthroughError, PassthroughRequest, Path
from service.wire.json_meter import FieldFinder, Span

log = structlog.get_logger()

# Seconds between two checks for a client that disconnected, while the upstream is silent.
CHECK_S = 0.2
MAX_MODEL_NAME = 256
# Bytes of its JSON, with every character escaped, and of the JSON of the key "model".
MAX_MODEL_BYTES = 12 * MAX_MODEL_NAME + 2
MAX_KEY = 6 * len("model") + 2
# Bytes and tokens of a body that is checked to be JSON.
MAX_CHECKED = 64 * 1024
MAX_CHECKED_TOKENS = 4_000
_STREAM = "text/event-stream"


async def models(request: web.Request) -> web.Response:
    return answer({"object": "list", "data": await request.app[PASSTHROUGH].models()})


async def model(request: web.Request) -> web.Response:
    return answer(await request.app[PASSTHROUGH].model(request.match_info["model"]))


async def delete_model(request: web.Request) -> web.Response:
    """Raises ApiError: the original deletes a caller's own fine-tuned models, and here there are none."""
    name = request.match_info["model"][:MAX_MODEL_NAME]
    raise ApiError(404, f"The model '{name}' does not exist", param="model", code="model_not_found")


async def chat_completions(request: web.Request) -> web.StreamResponse:
    return await _pass_on(request, "/chat/completions")


async def completions(request: web.Request) -> web.StreamResponse:
    return await _pass_on(request, "/completions")


async def embeddings(request: web.Request) -> web.StreamResponse:
    return await _pass_on(request, "/embeddings")


async def _pass_on(request: web.Request, path: Path) -> web.StreamResponse:
    """Passes a POST on to `path` of the upstream that serves the model. Raises ApiError and PassthroughError."""
    upstream_request = _upstream_request(path, request, await receive_body(request))
    try:
        async with _while_connected(request), request.app[PASSTHROUGH].post(upstream_request) as upstream:
            return await _send_answer(request, upstream, len(upstream_request.raw))
    except (ClientDisconnected, ConnectionError):
        log.info("passthrough_client_disconnected", path=path)
        return web.Response(status=499)


def _upstream_request(path: Path, request: web.Request, body: ReceivedBody) -> PassthroughRequest:
    """Returns the request for the upstream. If the path names a deployment (Azure), that is the model.

    The body is not parsed, since it may be large and the upstream parses it; only a small one is checked to be JSON.
    Raises ApiError if the body is no object or names no model.
    """
    finder = body.meter
    assert isinstance(finder, FieldFinder)
    finder.finish()
    _check_object(body, finder)
    values = [field.value for field in finder.fields if _is_model(body.raw, field.key)]
    names = [_read_string(body.raw, value) for value in values if value is not None]
    name = request.match_info.get("deployment") or (names[-1] if names else None)
    if finder.has_more_fields or len(names) < len(values) or not name or len(name) > MAX_MODEL_NAME:
        raise ApiError(400, "you must provide a model parameter", param="model")
    spans = tuple((value.start, value.end) for value in values if value is not None)
    return PassthroughRequest(path=path, model=name, raw=body.raw, model_values=spans, names_sent=tuple(names))


def _check_object(body: ReceivedBody, finder: FieldFinder) -> None:
    """Raises ApiError if the body is certainly no JSON object."""
    if len(body.raw) <= MAX_CHECKED and finder.tokens <= MAX_CHECKED_TOKENS:
        try:
            orjson.loads(body.raw or b"null")
        except orjson.JSONDecodeError as error:
            raise not_json(error) from error
    if finder.opening != b"{":
        raise ApiError(400, "The request body must be a JSON object.")
    if not finder.is_complete:
        raise not_json("it ends early")


def _is_model(raw: bytes, key: Span) -> bool:
    """Whether the key is "model". Its characters may be written with escapes of six bytes."""
    return key.end - key.start <= MAX_KEY and _read_string(raw, key) == "model"


def _read_string(raw: bytes, span: Span) -> str:
    """Returns the text of a string of the body; "" if it is longer than the name of a model, or no JSON."""
    if span.end - span.start > MAX_MODEL_BYTES:
        return ""
    try:
        return str(orjson.loads(raw[span.start : span.end]))
    except orjson.JSONDecodeError:
        return ""


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
        with closing(StreamSender(request, response)) as sender:
            async for chunk in upstream.chunks:
                if meter is not None:
                    meter.take(chunk)
                await sender.send(chunk)
                last = (last + chunk)[-2:] if len(chunk) < 2 else chunk[-2:]
    except ClientDisconnected:
        # Breaking off frees the client's connection, and the upstream's.
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
