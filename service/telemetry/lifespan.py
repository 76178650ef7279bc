"""Opens and closes metrics and traces."""

from __future__ import annotations

import asyncio
import importlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.feed import Feed
from service.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from service.telemetry.tracing import Tracing

# OpenTelemetry's own variables. If none of them names an endpoint, there are no traces.
ENDPOINT_VARIABLES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


@dataclass(frozen=True, slots=True)
class Instruments:
    """The metrics of this process, and its traces if they are turned on."""

    metrics: Metrics
    tracing: Tracing | None


@asynccontextmanager
async def telemetry_lifespan(feed: Feed) -> AsyncIterator[Instruments]:
    """Yields the instruments, which listen to the feed."""
    metrics = Metrics()
    feed.listen_to_threads(metrics)
    feed.listen_to_stores(metrics)
    if not any(os.environ.get(name) for name in ENDPOINT_VARIABLES):
        yield Instruments(metrics, None)
        return
    # OpenTelemetry takes most of a second to import, which would block the event loop.
    module = await asyncio.to_thread(importlib.import_module, "service.telemetry.tracing")
    tracing: Tracing = module.open_tracing()
    feed.listen_to_threads(tracing)
    try:
        yield Instruments(metrics, tracing)
    finally:
        await tracing.close()
