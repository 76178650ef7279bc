"""What every request goes through: an id and headers, its key, its version of the API, its body."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from typing import Any

import orjson
import structlog
from aiohttp import web

from events.envelope import Origin
from events.errors import FileNotFound, NotFound
from events.ids import new_id
from service.http import auth, azure
from service.http.context import EXTRA, GRANT, KEY, ORIGIN, RAW, REQUEST_ID, WIRE, deps, wire
from service.http.errors import ApiError, Handler
from service.http.metrics import public, route_of
from service.wire import integers, storable_text, v1, v2

log = structlog.get_logger()

OPENAI_VERSION = "2020-10-01"
# Bytes of JSON; what is passed through may have images inside.
MAX_BODY = 16 * 1024 * 1024
MAX_PASSED = 64 * 1024 * 1024
BODY_TIMEOUT = 60.0
# Seconds that a client may take to read what fills its connection's buffers.
WRITE_TIMEOUT = 30.0
_WIRES = {"assistants=v1": v1.WIRE, "assistants=v2": v2.WIRE}
_NOUNS = {"step_id": "run step", "vector_store_id": "vector store", "batch_id": "vector store file batch"}
# Where SDKs send no OpenAI-Beta: what is asked without one is v2.
WITHOUT_BETA = ("/v1/files", "/v1/uploads", "/v1/vector_stores", "/v1/webhook_endpoints")
# What is passed through has no versions of its own.
_UNVERSIONED = re.compile(r"/(?:v1/(?:models|chat|completions|embeddings|deployments)|metrics)(?:/|$)")
# Of answers that hold a secret: nobody on the way keeps them, and neither do we (service.http.idempotency).
NO_STORE = "no-store"
_OPEN_PATHS = frozenset({"/healthz", "/openapi.json", "/docs"})
# Ids of the path that every line of a request's log carries.
_LOGGED = ("thread_id", "run_id")


@web.middleware
async def identify(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Gives the request its id, logs it, and adds the headers that every response carries."""
    request_id = new_id("req")
    request[REQUEST_ID] = request_id
    started = time.perf_counter()
    structlog.contextvars.clear_contextvars()  # of the connection's last request
    named = request.match_info
    structlog.contextvars.bind_contextvars(
        request_id=request_id, **{name: named[name] for name in _LOGGED if name in named}
    )
    response = await handler(request)
    elapsed = time.perf_counter() - started
    if not response.prepared:
        response.headers.update(headers(request_id, elapsed * 1000))
    deps(request).metrics.served(*route_of(request), response.status, elapsed)
    log.debug("served", method=request.method, path=request.path, status=response.status, ms=round(elapsed * 1000, 1))
    return response


def headers(request_id: str, elapsed_ms: float) -> dict[str, str]:
    return {
        "x-request-id": request_id,
        "openai-processing-ms": str(max(1, round(elapsed_ms))),
        "openai-version": OPENAI_VERSION,
    }


async def tell_extra(request: web.Request, response: web.StreamResponse) -> None:
    """Adds what this request's response says besides: the headers it echoes, and how its key stands."""
    if EXTRA in request:
        response.headers.update(request[EXTRA])


@web.middleware
async def authenticate(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Checks the key, and finds the version of the API that the request speaks."""
    if request.path in _OPEN_PATHS or public(request):
        return await handler(request)
    key = request[KEY] = await auth.admit(request)
    request[ORIGIN] = Origin(project_id=key.project_id, actor=key.actor, request_id=request[REQUEST_ID])
    if request.match_info.http_exception is None and not _unversioned(request):
        request[WIRE] = _WIRES[f"assistants={request[GRANT].version}"] if GRANT in request else _version(request)
    _check_ids(request)
    if (encoding := request.headers.get("Content-Encoding", "identity").lower()) != "identity":
        raise ApiError(415, f"Content-Encoding '{encoding[:50]}' is not supported: send the body as it is.")
    return await handler(request)


async def json_body(request: web.Request) -> Any:
    """The decoded body; None where there is none. Raises ApiError for what is not JSON, too long or too slow."""
    return decoded(await raw_body(request))


async def raw_body(request: web.Request) -> bytes:
    """The body as it came, however often it is asked for. Raises ApiError where it is too long, too slow or broken."""
    if RAW not in request:
        request[RAW] = await _arrived(request, MAX_PASSED if _unversioned(request) else MAX_BODY)
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


def decoded(raw: bytes, loads: Callable[[bytes], Any] = integers.loads) -> Any:
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


def answer(content: dict[str, Any], **extra: str) -> web.Response:
    """A JSON response with status 200; `extra` are headers, with underscores for dashes."""
    named = {name.replace("_", "-"): value for name, value in extra.items()}
    return web.Response(body=orjson.dumps(content), content_type="application/json", headers=named)


def includes(request: web.Request) -> frozenset[str]:
    """The values of include[] (or include), each known to the version. Raises Rejected for any other."""
    return wire(request).include([*request.query.getall("include[]", []), *request.query.getall("include", [])])


def _check_ids(request: web.Request) -> None:
    """Raises NotFound for an id in the path that no object can have, and no database could be asked for."""
    for name, id in request.match_info.items():
        if not storable_text.fit(id):
            raise FileNotFound(id) if name == "file_id" else NotFound(_NOUNS.get(name) or name.removesuffix("_id"), id)


def _unversioned(request: web.Request) -> bool:
    return _UNVERSIONED.match(azure.plain(request.path)) is not None


def _version(request: web.Request) -> Any:
    """The wire of the OpenAI-Beta header, which may list several betas. Lenient servers take a missing one for v2."""
    named = request.headers.getall("OpenAI-Beta", [])
    sent = azure.betas(request) or [part.strip() for value in named for part in value.split(",")]
    for beta in sent:
        if beta in _WIRES:
            return _WIRES[beta]
    if not sent and azure.plain(request.path).startswith(WITHOUT_BETA):
        return v2.WIRE
    if deps(request).strict_beta or any(beta.startswith("assistants=") for beta in sent):
        message = (
            "You must provide the 'OpenAI-Beta' header to access the Assistants API. Please try again by setting the"
            " header 'OpenAI-Beta: assistants=v2'."
        )
        raise ApiError(400, message, code="invalid_beta")
    return v2.WIRE
