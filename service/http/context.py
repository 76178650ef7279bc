"""What handlers work with, and what they know of one request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from aiohttp import web

from events.clock import Clock
from events.envelope import Origin
from events.ids import IdSource
from events.streams import StreamType
from events.thread.commands import Claim
from projections.keys import ApiKey
from service.access.keys import Keys
from service.access.rate_limits import RateLimits
from service.access.signed_tokens import Grant, Signer
from service.access.stream_limits import StreamLimits
from service.database import Pool
from service.feed import Feed
from service.http.route import Route
from service.http.routing import RouteTable
from service.idempotency import Attempt, Keeper
from service.passthrough import Passthrough
from service.search.base import Searcher
from service.storage.base import Blobs
from service.telemetry.health import PartHealth
from service.telemetry.metrics import Metrics
from service.webhooks.endpoints import Endpoints
from service.wire.api import Wire
from service.writer import Writer


class SandboxCounts(Protocol):
    """How many sandboxes are in use or idle, are warm, and were lost since the start."""

    @property
    def open(self) -> int: ...

    @property
    def warm(self) -> int: ...

    @property
    def lost(self) -> int: ...


class Claims(Protocol):
    """Who can take a run on at once: the supervisor, of which handlers know only this."""

    def offer(self, tools: Sequence[Mapping[str, Any]] = ()) -> AbstractContextManager[Claim | None]: ...


async def _keep_queries(queries: Sequence[str]) -> Sequence[str]:
    return queries


@dataclass(frozen=True, slots=True)
class Deps:
    """`run_lifetime` in seconds. `health` tells of each part, `sandboxes` counts those that code runs in.

    `embedding_model` is what new vector stores get; `rewrite_queries` makes queries as they are searched of those
    asked.

    `busy`: whether threads with an active run reject or queue what comes, where a request does not say.
    `public_url`: what links begin with, where the request's own address is not what others reach.
    """

    clock: Clock
    ids: IdSource
    pool: Pool
    writer: Writer
    feed: Feed
    claims: Claims
    relay: Passthrough
    blobs: Blobs
    keys: Keys
    limits: RateLimits
    streams: StreamLimits
    once: Keeper
    signer: Signer
    metrics: Metrics
    metrics_open: bool
    strict_beta: bool
    run_lifetime: int
    searcher: Searcher
    embedding_model: str
    max_store_files: int
    webhooks: Endpoints
    health: Callable[[], Awaitable[Mapping[str, PartHealth]]]
    sandboxes: Callable[[], SandboxCounts | None] = lambda: None
    rewrite_queries: Callable[[Sequence[str]], Awaitable[Sequence[str]]] = _keep_queries
    busy: str = "reject"
    public_url: str | None = None


DEPS: web.AppKey[Deps] = web.AppKey("deps", Deps)
ROUTE_TABLE: web.AppKey[RouteTable] = web.AppKey("route_table", RouteTable)
# The entry of the table that the request matched; absent if it matched none.
ROUTE: web.RequestKey[Route] = web.RequestKey("route", Route)
REQUEST_ID: web.RequestKey[str] = web.RequestKey("request_id", str)
WIRE: web.RequestKey[Any] = web.RequestKey("wire", object)
ORIGIN: web.RequestKey[Origin] = web.RequestKey("origin", Origin)
KEY: web.RequestKey[ApiKey] = web.RequestKey("key", ApiKey)
# The attempt of a request with an Idempotency-Key.
ATTEMPT: web.RequestKey[Attempt] = web.RequestKey("attempt", Attempt)
# The ids of a request with an Idempotency-Key: they follow from the key.
IDS: web.RequestKey[IdSource] = web.RequestKey("ids", IdSource)
# The body, after it has been read.
RAW: web.RequestKey[bytes] = web.RequestKey("raw", bytes)
# What the token allows, if the request came with a token instead of a key.
GRANT: web.RequestKey[Grant] = web.RequestKey("grant", Grant)
# Headers that the response will carry, whether it is an answer or an error.
ADDED_HEADERS: web.RequestKey[dict[str, str]] = web.RequestKey("added_headers", dict)


def deps(request: web.Request) -> Deps:
    return request.app[DEPS]


def wire(request: web.Request) -> Wire:
    """How this request's version of the API parses and renders."""
    found: Wire = request[WIRE]
    return found


async def done_before(request: web.Request, stream_type: StreamType[Any, Any], stream_id: str) -> bool:
    """Whether an earlier try of the request (its Idempotency-Key's) has changed the stream.

    Then nothing is asked anew of what the request names: it was there, and may have gone since.
    """
    return await deps(request).writer.repeated(stream_type, origin(request), stream_id) is not None


def clock(request: web.Request) -> Clock:
    return request.app[DEPS].clock


def id_source(request: web.Request) -> IdSource:
    """Returns the source of the ids of the objects that the request creates."""
    return request.get(IDS) or deps(request).ids


def origin(request: web.Request) -> Origin:
    """Whose request it is: its project, key and id."""
    return request[ORIGIN]
