"""What every request goes through: an id and headers, its key, its version of the API, its body."""

from __future__ import annotations

import time
from typing import Any

import structlog
from aiohttp import web

from events.envelope import Origin
from events.errors import FileNotFound, NotFound
from service.http import auth, azure
from service.http.bodies import unversioned
from service.http.context import EXTRA, GRANT, KEY, ORIGIN, REQUEST_ID, WIRE, deps
from service.http.errors import ApiError, Handler
from service.http.metrics import public, route_of
from service.http.responses import headers
from service.wire import storable_text, v1, v2

log = structlog.get_logger()

_WIRES = {"assistants=v1": v1.WIRE, "assistants=v2": v2.WIRE}
_NOUNS = {"step_id": "run step", "vector_store_id": "vector store", "batch_id": "vector store file batch"}
# Where SDKs send no OpenAI-Beta: what is asked without one is v2.
WITHOUT_BETA = ("/v1/files", "/v1/uploads", "/v1/vector_stores", "/v1/webhook_endpoints")
_OPEN_PATHS = frozenset({"/healthz", "/openapi.json", "/docs"})
# Ids of the path that every line of a request's log carries.
_LOGGED = ("thread_id", "run_id")


@web.middleware
async def identify(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Gives the request its id, logs it, and adds the headers that every response carries."""
    request_id = deps(request).ids.new("req")
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
    deps(request).metrics.count_request(*route_of(request), response.status, elapsed)
    log.debug("served", method=request.method, path=request.path, status=response.status, ms=round(elapsed * 1000, 1))
    return response


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
    if request.match_info.http_exception is None and not unversioned(request):
        request[WIRE] = _WIRES[f"assistants={request[GRANT].version}"] if GRANT in request else _version(request)
    _check_ids(request)
    if (encoding := request.headers.get("Content-Encoding", "identity").lower()) != "identity":
        raise ApiError(415, f"Content-Encoding '{encoding[:50]}' is not supported: send the body as it is.")
    return await handler(request)


def _check_ids(request: web.Request) -> None:
    """Raises NotFound for an id in the path that no object can have, and no database could be asked for."""
    for name, id in request.match_info.items():
        if not storable_text.is_storable(id):
            raise FileNotFound(id) if name == "file_id" else NotFound(_NOUNS.get(name) or name.removesuffix("_id"), id)


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
