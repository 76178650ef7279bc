"""Bounds the requests with wrong keys and tokens from one address.

Keys cannot be guessed: they have 256 random bits. The bound keeps strangers from filling the database's queue with
look-ups, and shows a program with an old key that it is wrong to go on. A correct key is never refused, because many
clients may share an address. Each server counts by itself, over its workers, since a count in the database would be a
write for each request of a stranger.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext

from service.access.rate_limits import Bucket
from service.workers.shared_buckets import SharedBuckets

# Wrong keys of one address: so many at once, and so many a minute.
MAX_WRONG_KEYS = 60
# Addresses whose wrong keys are counted. The one that has been quiet for longest is forgotten first.
MAX_PEERS = 10_000
# Look-ups at once for all addresses that have used up their bound.
THROTTLED_LOOKUPS = 2


class WrongKeyLimit:
    """Counts wrong keys by address. `timer` returns seconds that never go backwards.

    `shared` are the buckets of all workers of this server, if there are several.
    """

    def __init__(self, *, timer: Callable[[], float] = time.monotonic, shared: SharedBuckets | None = None) -> None:
        self._timer = timer
        self._shared = shared
        self._peers: OrderedDict[str, Bucket] = OrderedDict()
        self._lookups = asyncio.Semaphore(THROTTLED_LOOKUPS)

    @asynccontextmanager
    async def lookup(self, peer: str) -> AsyncIterator[None]:
        """Holds a place for the look-up of a key; waits for one if the address has used up its bound."""
        if self._level(peer) >= 1:
            yield
            return
        async with self._lookups:
            yield

    def count(self, peer: str) -> float | None:
        """Counts a wrong key. Returns None, or, if it exceeds the bound, the seconds until the next one is allowed."""
        bucket = self._peers.get(peer)
        if bucket is None:
            if len(self._peers) >= MAX_PEERS:
                self._peers.popitem(last=False)
            bucket = self._peers[peer] = Bucket(MAX_WRONG_KEYS, self._timer(), MAX_WRONG_KEYS)
        self._peers.move_to_end(peer)
        with nullcontext() if self._shared is None else self._shared.share((f"peer {peer}", bucket)):
            bucket.fill(self._timer())
            if bucket.level < 1:
                return bucket.until(1)
            bucket.level -= 1
            return None

    @property
    def peers(self) -> int:
        """The number of addresses that are counted."""
        return len(self._peers)

    def _level(self, peer: str) -> float:
        bucket = self._peers.get(peer)
        if bucket is None:
            return MAX_WRONG_KEYS
        bucket.fill(self._timer())
        return bucket.level
