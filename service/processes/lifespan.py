"""Joins the peers on the database, and leaves them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from events.ids import IdSource
from service.database import Pool
from service.feed import Feed
from service.processes.delta_relay import DeltaRelay
from service.processes.peers import ERASED_CHANNEL, Peers
from service.tasks.background import background


@asynccontextmanager
async def peers_lifespan(url: str, feed: Feed, pool: Pool, *, ids: IdSource, is_alone: bool) -> AsyncIterator[Peers]:
    """Yields this process among its peers: it holds its lock, notifies them of appends, wakes the feed, and passes
    deltas to and from its peers.

    `url` must lead to Postgres itself, not to a pooler. `is_alone` is that of `Peers`. Raises StartupError.
    """
    peers = Peers(url, ids=ids, wake=feed.wake, is_alone=is_alone)
    relay = DeltaRelay(feed, pool, peers)
    peers.add_channel(ERASED_CHANNEL, lambda _, stream_ids: pool.forget_keys(stream_ids))
    await peers.join()
    feed.listen_to_threads(peers)
    feed.listen_to_stores(peers)
    relay.listen()
    try:
        async with background(peers.run()), background(relay.run()):
            yield peers
    finally:
        await peers.leave()
