"""Starts and stops the delivery of webhooks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from service.processes.peers import Peers
from service.tasks.background import background
from service.telemetry.metrics import Metrics
from service.webhooks.couriers import Couriers
from service.webhooks.endpoints import Endpoints
from service.webhooks.sender import Sender
from service.writer import Writer


@asynccontextmanager
async def webhooks_lifespan(
    writer: Writer, peers: Peers, metrics: Metrics, *, allow_private: bool
) -> AsyncIterator[Endpoints]:
    """Yields the operations on endpoints. Messages are delivered in the background.

    `allow_private` as in `Sender`.
    """
    async with Sender(clock=writer.clock, allow_private=allow_private) as sender:
        couriers = Couriers(writer, peers, sender, metrics)
        writer.feed.listen_to_threads(couriers)
        writer.feed.listen_to_wakes(couriers)
        async with background(couriers.run()):
            yield Endpoints(writer, sender)
