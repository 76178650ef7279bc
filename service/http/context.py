"""The facts of one request, and helpers to reach the event log."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from events.clock import Clock
from events.envelope import Origin
from events.ids import IdSource
from events.installation import INSTALLATION_PROJECT
from events.streams import StreamType
from projections.keys import ApiKey
from service.access.signed_tokens import Grant
from service.database import Pool
from service.http.body_budget import BodyReader, HeldBytes
from service.http.route import Route
from service.http.routing import RouteTable
from service.http.services import LOG
from service.idempotency.keys import Attempt
from service.wire.api import Wire
from service.wire.json_meter import JsonMeter
from service.writer import Writer
from sql.connection import Connection


@dataclass(frozen=True, slots=True)
class ReceivedBody:
    """The bytes of a body, and the measures of its JSON."""

    raw: bytes = field(repr=False)
    meter: JsonMeter


BODIES: web.AppKey[BodyReader] = web.AppKey("bodies", BodyReader)
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
# The body, after it has been read, and its place in the budget of bodies in flight.
BODY: web.RequestKey[ReceivedBody] = web.RequestKey("body", ReceivedBody)
HELD_BYTES: web.RequestKey[HeldBytes] = web.RequestKey("held_bytes", HeldBytes)
# The permission of a token, if the request came with a token instead of a key.
GRANT: web.RequestKey[Grant] = web.RequestKey("grant", Grant)
# Headers that the response will carry, whether it is an answer or an error.
ADDED_HEADERS: web.RequestKey[dict[str, str]] = web.RequestKey("added_headers", dict)


# The pool of the replica, if the request reads there.
REPLICA: web.RequestKey[Pool] = web.RequestKey("replica", Pool)


def writer(request: web.Request) -> Writer:
    return request.app[LOG].writer


def connection(request: web.Request) -> AbstractAsyncContextManager[Connection]:
    """Returns a connection for reading; it is returned to its pool at the end of the context."""
    return (request.get(REPLICA) or request.app[LOG].pool).acquire()


def wire(request: web.Request) -> Wire:
    """Returns the wire format of the request's version of the API."""
    found: Wire = request[WIRE]
    return found


async def done_before(request: web.Request, stream_type: StreamType[Any, Any], stream_id: str) -> bool:
    """Returns whether an earlier attempt of the request, with the same Idempotency-Key, has changed the stream.

    Then what the request names is not looked up again: it existed at that attempt, and may be deleted by now.
    """
    return await writer(request).find_repeat(stream_type, origin(request), stream_id) is not None


def clock(request: web.Request) -> Clock:
    return request.app[LOG].clock


def id_source(request: web.Request) -> IdSource:
    """Returns the source of the ids of the objects that the request creates."""
    return request.get(IDS) or request.app[LOG].ids


def origin(request: web.Request) -> Origin:
    """Returns the project, the key and the id of the request."""
    return request[ORIGIN]


def audited_project(request: web.Request) -> str | None:
    """Returns the project whose audit the key may read; None if it may read that of all projects."""
    own = request[KEY].project_id
    return None if own == INSTALLATION_PROJECT else own
