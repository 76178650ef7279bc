"""GET /metrics, for Prometheus. Without a key from this machine; from elsewhere where EVERTHREAD_METRICS says so."""

from __future__ import annotations

import asyncio
import importlib
import ipaddress

import structlog
from aiohttp import hdrs, web

from projections import runs, vector_stores, webhooks
from service.database import DATABASE_ERRORS
from service.http.context import deps

log = structlog.get_logger()

MAX_COUNTED = 1_000_000
DATABASE_S = 2.0  # what the database may take to count; without its answer the rest is told
# What a proxy adds: its requests come from this machine, and those that it passes on need not.
_FORWARDED = frozenset({"forwarded", "x-forwarded-for", "x-real-ip", "via"})


async def metrics(request: web.Request) -> web.Response:
    await asyncio.to_thread(importlib.import_module, "service.telemetry.prometheus")  # once, and not in the loop
    from service.telemetry import prometheus

    pool = deps(request).pool
    sizes = (pool.get_size(), pool.get_idle_size(), pool.get_max_size())
    active, indexing, waiting = await _looked(request)
    streams = deps(request).streams.count
    gauges = prometheus.Gauges(active, indexing, *sizes, deps(request).sandboxes(), waiting, streams)
    body = prometheus.render(deps(request).metrics, gauges)
    return web.Response(body=body, headers={hdrs.CONTENT_TYPE: prometheus.CONTENT_TYPE})


def is_open(request: web.Request) -> bool:
    """Returns whether the request may read the counts without a key."""
    return deps(request).metrics_open or _is_local(request)


def route_of(request: web.Request) -> tuple[str, str]:
    """Returns the method and the pattern of the path, as labels: their number is bounded, whatever clients send."""
    resource = request.match_info.route.resource
    if resource is None:
        return request.method if request.method in hdrs.METH_ALL else "other", "unmatched"
    return request.method, resource.canonical


def _is_local(request: web.Request) -> bool:
    if any(name in request.headers for name in _FORWARDED):
        return False
    peer = request.transport.get_extra_info("peername") if request.transport is not None else None
    try:
        return peer is not None and ipaddress.ip_address(peer[0]).is_loopback
    except ValueError:
        return False


async def _looked(request: web.Request) -> tuple[dict[str, int] | None, int | None, int | None]:
    """Active runs by status, files to index, webhook messages that wait; None where the database does not say."""
    try:
        async with asyncio.timeout(DATABASE_S), deps(request).pool.acquire() as db:
            waiting = await webhooks.pending(db, MAX_COUNTED)
            return await runs.active(db), await vector_stores.in_progress(db), waiting
    except (TimeoutError, *DATABASE_ERRORS) as error:
        log.warning("no count of runs", error=type(error).__name__)
        return None, None, None
