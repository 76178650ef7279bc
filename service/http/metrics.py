"""GET /metrics, for Prometheus. It needs a key, unless peer and Host are local or EVERTHREAD_METRICS is "open"."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Mapping
from dataclasses import dataclass

import structlog
from aiohttp import hdrs, web

from projections import active_runs, vector_stores, webhooks
from service.audit.sequencer import LogCounts
from service.database import DATABASE_ERRORS
from service.http.context import connection
from service.http.hosts import is_local
from service.http.services import SETTINGS, TELEMETRY
from service.telemetry.counters import Counters

log = structlog.get_logger()

MAX_COUNTED = 1_000_000
DATABASE_S = 2.0  # for the counts of the database; after that the metrics are served without them


@dataclass(frozen=True, slots=True, kw_only=True)
class _Counts:
    """Active runs by status, files to index, webhook messages that wait, and the counts of the audit log."""

    active: Mapping[str, int]
    indexing: int
    webhooks_waiting: int
    log: LogCounts


async def metrics(request: web.Request) -> web.Response:
    await asyncio.to_thread(importlib.import_module, "service.telemetry.prometheus")  # once, and not in the loop
    from service.telemetry import prometheus

    counts, collection = await asyncio.gather(_count_in_database(request), request.app[TELEMETRY].membership.collect())
    gauges = prometheus.Gauges(
        active=None if counts is None else counts.active,
        indexing=None if counts is None else counts.indexing,
        webhooks_waiting=None if counts is None else counts.webhooks_waiting,
        log_pending=None if counts is None else counts.log.pending,
        log_size=None if counts is None else counts.log.size,
        attesters=request.app[TELEMETRY].attestations.states,
        processes=collection.gauges,
    )
    body = prometheus.render(Counters.from_counts(collection.counters), gauges)
    return web.Response(body=body, headers={hdrs.CONTENT_TYPE: prometheus.CONTENT_TYPE})


def is_open(request: web.Request) -> bool:
    """Returns whether the request may read the counts without a key."""
    return request.app[SETTINGS].is_metrics_open or is_local(request)


def route_of(request: web.Request) -> tuple[str, str]:
    """Returns the method and the pattern of the path, as labels. Their number is bounded."""
    resource = request.match_info.route.resource
    if resource is None:
        return request.method if request.method in hdrs.METH_ALL else "other", "unmatched"
    return request.method, resource.canonical


async def _count_in_database(request: web.Request) -> _Counts | None:
    """Returns the counts of all processes, or None if the database does not answer within DATABASE_S."""
    try:
        async with asyncio.timeout(DATABASE_S), connection(request) as db:
            return _Counts(
                active=await active_runs.count_active(db),
                indexing=await vector_stores.count_files_in_progress(db),
                webhooks_waiting=await webhooks.count_pending(db, MAX_COUNTED),
                log=await request.app[TELEMETRY].audit_log.count(db),
            )
    except (TimeoutError, *DATABASE_ERRORS) as error:
        log.warning("metrics_query_failed", error=type(error).__name__)
        return None
