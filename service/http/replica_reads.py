"""Reads that may go to a replica of the database: docs/scaling.md, "Reads from a replica".

A GET of an entry with `can_be_old` reads there if the replica is not too old, and has all that this process wrote for
the project. If the object is not there, or the read fails, the request is answered from the primary.
"""

from __future__ import annotations

import asyncpg
from aiohttp import web

from events.errors import NotFound
from service.database import DATABASE_ERRORS, ReadReplica
from service.http.context import ORIGIN, REPLICA, ROUTE
from service.http.errors import ApiError, Handler
from service.http.responses import add_headers
from service.http.services import LOG
from service.wire.as_of import AT
from service.wire.thread_search import PARAMETERS

# The header of a request that says where to read; answers from a replica say so by it.
HEADER = "Everthread-Read"
PRIMARY, ANY, FROM_REPLICA = "primary", "any", "replica"
_READING = ("GET", "HEAD", "OPTIONS")


@web.middleware
async def read_replica(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Lets the handler read from the replica if there is one and the request allows it.

    Raises ApiError if the header has another value.
    """
    wanted = _wanted_place(request)
    replica = request.app[LOG].replica
    if replica is None or ORIGIN not in request:
        return await handler(request)
    project_id = request[ORIGIN].project_id
    if request.method not in _READING:
        try:
            return await handler(request)
        finally:
            replica.note_write(project_id)
    if wanted == ANY and _can_be_old(request) and replica.can_serve(project_id):
        found = await _try(replica, request, handler)
        if found is not None:
            return found
    return await handler(request)


def _wanted_place(request: web.Request) -> str:
    wanted = request.headers.get(HEADER, ANY).strip().lower()
    if wanted not in (PRIMARY, ANY):
        message = f"Invalid value for the header '{HEADER}': '{wanted[:64]}'. Supported values are: 'primary', 'any'."
        raise ApiError(400, message)
    return wanted


def _can_be_old(request: web.Request) -> bool:
    """Whether the entry allows it. The past (`at`) is read from the log of the primary, and so are words of threads,
    which a replica does not have."""
    if ROUTE not in request or not request[ROUTE].can_be_old or AT in request.query:
        return False
    return "thread_search" not in request[ROUTE].query or PARAMETERS.isdisjoint(request.query)


async def _try(replica: ReadReplica, request: web.Request, handler: Handler) -> web.StreamResponse | None:
    """Returns the answer of the handler on the replica, or None if the primary must answer."""
    request[REPLICA] = replica.pool
    try:
        response = await handler(request)
    except NotFound:
        return None  # another process may have created the object a moment ago
    except (*DATABASE_ERRORS, asyncpg.PostgresError, TimeoutError) as error:
        replica.report_failure(error)
        return None
    finally:
        del request[REPLICA]
    add_headers(request, {HEADER: FROM_REPLICA})
    return response
