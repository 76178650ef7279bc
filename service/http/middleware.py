"""The middlewares that every request passes: its id and headers, its key, its version of the API."""

from __future__ import annotations

import time

import structlog
from aiohttp import web

from events.actors import TokenActor
from events.api_key import AUDIT_SCOPES
from events.envelope import Origin
from events.errors import FileNotFound, NotFound, Rejection
from service.database import mark_request
from service.http import auth, azure
from service.http.bodies import release_body
from service.http.client_facts import client_facts
from service.http.context import GRANT, KEY, ORIGIN, REQUEST_ID, ROUTE, ROUTE_TABLE, WIRE
from service.http.errors import ApiError, Handler, suggest_retry
from service.http.metrics import is_open, route_of
from service.http.responses import headers
from service.http.services import ACTS, LOG, SETTINGS, TELEMETRY
from service.wire import storable_text, v1, v2
from service.wire.api import Wire
from service.wire.as_of import AT

log = structlog.get_logger()

_WIRES = {"assistants=v1": v1.WIRE, "assistants=v2": v2.WIRE}
_V1_ONLY = (
    "Files of assistants and messages are operations of v1. Please set the header 'OpenAI-Beta: assistants=v1', or use"
    " tool_resources and attachments."
)
# The header that shows or hides the quotes of citations in one answer of v2.
QUOTES = "Everthread-Quotes"
QUOTES_VALUES = ("on", "off")
# Characters of a point in time that the record of a read has.
MAX_RECORDED_AT = 64
_NOUNS = {"step_id": "run step", "vector_store_id": "vector store", "batch_id": "vector store file batch"}
# The methods of requests that append no events; their clients are not recorded.
_READING = ("GET", "HEAD", "OPTIONS")
# The ids of the path that are bound to all log events of a request.
_LOGGED = ("thread_id", "run_id")


@web.middleware
async def identify(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Gives the request its id and its route, logs it, and adds the headers that every response carries."""
    request_id = request.app[LOG].ids.new("req")
    request[REQUEST_ID] = request_id
    mark_request()
    started = time.perf_counter()
    route = request.app[ROUTE_TABLE].find(request)
    if route is not None:
        request[ROUTE] = route
    structlog.contextvars.clear_contextvars()  # removes the variables of the connection's previous request
    named = request.match_info
    structlog.contextvars.bind_contextvars(
        request_id=request_id, **{name: named[name] for name in _LOGGED if name in named}
    )
    try:
        response = await handler(request)
    finally:
        release_body(request)
    elapsed = time.perf_counter() - started
    if not response.prepared:
        response.headers.update(headers(request_id, elapsed * 1000))
        suggest_retry(response)
    method, pattern = route_of(request)
    request.app[TELEMETRY].metrics.count_request(method, pattern, response.status, elapsed)
    log.debug(
        "request_served", method=request.method, path=request.path, status=response.status, ms=round(elapsed * 1000, 1)
    )
    return response


@web.middleware
async def authenticate(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Checks the key, finds the version of the API that the request speaks, and checks the ids of its path."""
    access = request.app[ROUTE_TABLE].access(request)
    if access == "public" or (access == "local" and is_open(request)):
        return await handler(request)
    key = request[KEY] = await auth.admit(request)
    actor = TokenActor(key.id) if GRANT in request else key.actor
    is_auditor = key.scope in AUDIT_SCOPES
    client = None
    if is_auditor or request.method not in _READING:
        client = request.app[ACTS].clients.record(request[REQUEST_ID], client_facts(request))
    request[ORIGIN] = Origin(project_id=key.project_id, actor=actor, request_id=request[REQUEST_ID], client=client)
    if is_auditor:
        await request.app[ACTS].record_read(request[ORIGIN], _path_of_read(request))
    if ROUTE in request and request[ROUTE].versions:
        wire = _WIRES[f"assistants={request[GRANT].version}"] if GRANT in request else _choose_wire(request)
        request[WIRE] = v2.QUOTING_WIRE if wire is v2.WIRE and _shows_quotes(request) else wire
    _check_ids(request)
    if (encoding := request.headers.get("Content-Encoding", "identity").lower()) != "identity":
        raise ApiError(415, f"Content-Encoding '{encoding[:50]}' is not supported: send the body as it is.")
    return await handler(request)


@web.middleware
async def check_version(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuses a request in a version of the API that does not have the operation.

    Raises HTTPNotFound in v1, which has no such path, and Rejection in v2, which has other operations for the purpose.
    """
    if WIRE in request and request[WIRE].version not in request[ROUTE].versions:
        if request[WIRE].version == "v1":
            raise web.HTTPNotFound
        raise Rejection(_V1_ONLY, code="invalid_beta")
    return await handler(request)


def _check_ids(request: web.Request) -> None:
    """Raises NotFound if an id of the path has characters that no id has, and that Postgres does not take."""
    for name, id in request.match_info.items():
        if not storable_text.is_storable(id):
            raise FileNotFound(id) if name == "file_id" else NotFound(_NOUNS.get(name) or name.removesuffix("_id"), id)


def _path_of_read(request: web.Request) -> str:
    """Returns the path that a read for an audit is recorded with: its pattern for tiles, of which a log has many.

    A read of the past, which shows what was deleted since, has its point (`at`), cut to MAX_RECORDED_AT characters.
    """
    if ROUTE in request and not request[ROUTE].versions:
        return request[ROUTE].plain_path
    at = request.query.get(AT)
    return request.path if at is None else f"{request.path}?{AT}={at[:MAX_RECORDED_AT]}"


def _shows_quotes(request: web.Request) -> bool:
    """Whether v2 shows the quotes of citations: as the header says, else as EVERTHREAD_QUOTES. Raises ApiError."""
    asked = request.headers.get(QUOTES, "on" if request.app[SETTINGS].shows_quotes else "off").strip().lower()
    if asked not in QUOTES_VALUES:
        message = f"Invalid value for the header '{QUOTES}': '{asked[:64]}'. Supported values are: 'on', 'off'."
        raise ApiError(400, message)
    return asked == "on"


def _choose_wire(request: web.Request) -> Wire:
    """Returns the wire format that OpenAI-Beta names; the header may list several betas.

    Without one it is v2. Raises ApiError if only other versions are named, or if the header is missing and the server
    is strict.
    """
    lists = request.headers.getall("OpenAI-Beta", [])
    sent = azure.betas(request) or [part.strip() for value in lists for part in value.split(",")]
    for beta in sent:
        if beta in _WIRES:
            return _WIRES[beta]
    if not sent and request[ROUTE].beta_header == "optional":
        return v2.WIRE
    if request.app[SETTINGS].is_beta_strict or any(beta.startswith("assistants=") for beta in sent):
        message = (
            "You must provide the 'OpenAI-Beta' header to access the Assistants API. Please try again by setting the"
            " header 'OpenAI-Beta: assistants=v2'."
        )
        raise ApiError(400, message, code="invalid_beta")
    return v2.WIRE
