"""Starts and stops access control: keys, their limits, open streams and signed tokens."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from events.clock import Clock
from events.ids import IdSource
from service.access.control import AccessControl
from service.access.keys import Keys
from service.access.rate_limits import RateLimits
from service.access.signed_tokens import Signer
from service.access.storage_quota import StorageQuota
from service.access.stream_limits import StreamLimits
from service.access.wrong_keys import WrongKeyLimit
from service.database import Pool
from service.feed import Feed
from service.tasks.background import background
from service.workers.shared_buckets import SharedBuckets


@asynccontextmanager
async def access_lifespan(
    pool: Pool,
    feed: Feed,
    *,
    api_key: str,
    storage_quota: int | None,
    clock: Clock,
    ids: IdSource,
    buckets: SharedBuckets | None,
) -> AsyncIterator[AccessControl]:
    """Yields access control. `api_key` is the key of the default project that the settings name; `storage_quota` is the
    quota of each project in bytes, None for no quota. `buckets` are those of all workers of this server, if there are
    several.

    In the background, last uses of keys are written and revoked keys are found.
    """
    keys, limits = Keys(pool, api_key, clock=clock), RateLimits(pool, shared=buckets)
    feed.listen_to_threads(limits)
    async with background(keys.run(), keys.run_revocation_watch()):
        yield AccessControl(
            keys=keys,
            limits=limits,
            streams=StreamLimits(),
            signer=Signer(pool, keys, clock=clock, ids=ids),
            wrong_keys=WrongKeyLimit(shared=buckets),
            storage=StorageQuota(pool, storage_quota),
        )
