"""GET /metrics, for Prometheus. It needs a key, unless peer and Host are local or EVERTHREAD_METRICS is "open"."""

from __future__ import annotations

import asyncio
import importlib
import ipaddress
import re

import structlog
from aiohttp import hdrs, web

from projections import runs, vector_stores, webhooks
from service.database import DATABASE_ERRORS
from service.http.context import connection
from service.http.services import ACCESS, LOG, SETTINGS, TELEMETRY

log = structlog.get_logger()

MAX_COUNTED = 1_000_000
DATABASE_S = 2.0  # for the counts of the database; after that the metrics are served without them
# The headers of a proxy on this machine, whose requests may come from other machines.
_FORWARDED = frozenset({"forwarded", "x-forwarded-for", "x-real-ip", "via"})
_HOST = re.compile(
    r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9.-]+))(?::[0-9]*)?"
)  # an IPv6 address, or a name or IPv4 address


async def metrics(request: web.Request) -> web.Response:
    await asyncio.to_thread(importlib.import_module, "service.telemetry.prometheus")  # once, and not in the loop
    from service.telemetry import prometheus

    pool = request.app[LOG].pool
    active, indexing, waiting = await _count_in_database(request)
    gauges = prometheus.Gauges(
        active=active,
        indexing=indexing,
        pool_size=pool.get_size(),
        pool_idle=pool.get_idle_size(),
        pool_max=pool.get_max_size(),
        sandboxes=request.app[TELEMETRY].sandboxes,
        webhooks_waiting=waiting,
        streams=request.app[ACCESS].streams.count,
    )
    body = prometheus.render(request.app[TELEMETRY].metrics, gauges)
    return web.Response(body=body, headers={hdrs.CONTENT_TYPE: prometheus.CONTENT_TYPE})


def is_open(request: web.Request) -> bool:
    """Returns whether the request may read the counts without a key."""
    return request.app[SETTINGS].is_metrics_open or _is_local(request)


def route_of(request: web.Request) -> tuple[str, str]:
    """Returns the method and the pattern of the path, as labels. Their number is bounded."""
    resource = request.match_info.route.resource
    if resource is None:
        return request.method if request.method in hdrs.METH_ALL else "other", "unmatched"
    return request.method, resource.canonical


def _is_local(request: web.Request) -> bool:
    """Returns whether the peer and the Host are local.

    The peer alone is not enough: a browser on this machine sends the requests of a page whose name was rebound to it.
    """
    if any(name in request.headers for name in _FORWARDED):
        return False
    peer = request.transport.get_extra_info("peername") if request.transport is not None else None
    host = _HOST.fullmatch(request.headers.get(hdrs.HOST, ""))
    return peer is not None and host is not None and _is_loopback(peer[0]) and _is_loopback(host[1] or host[2])


def _is_loopback(host: str) -> bool:
    if host.lower().removesuffix(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def _count_in_database(request: web.Request) -> tuple[dict[str, int] | None, int | None, int | None]:
    """Returns active runs by status, files to index, and webhook messages that wait.

    Each is None if the database does not answer within DATABASE_S.
    """
    try:
        async with asyncio.timeout(DATABASE_S), connection(request) as db:
            waiting = await webhooks.count_pending(db, MAX_COUNTED)
            return await runs.count_active(db), await vector_stores.count_files_in_progress(db), waiting
    except (TimeoutError, *DATABASE_ERRORS) as error:
        log.warning("metrics_query_failed", error=type(error).__name__)
        return None, None, None
