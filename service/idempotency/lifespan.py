"""Starts and stops the keeping of idempotency keys."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from events.clock import Clock
from events.ids import IdSource
from service.database import Pool
from service.idempotency.keys import IdempotencyKeys
from service.processes.orphans import LiveProcesses
from service.tasks.background import background


@asynccontextmanager
async def idempotency_lifespan(
    pool: Pool, processes: LiveProcesses, *, clock: Clock, ids: IdSource
) -> AsyncIterator[IdempotencyKeys]:
    """Yields the keys. Expired ones are deleted in the background."""
    keys = IdempotencyKeys(pool, processes, clock=clock, ids=ids)
    async with background(keys.run()):
        yield keys
