"""Fills new shapes of views beside the older ones while servers work, and then lets answers be read from them.

One process of all does this at a time: the lock of rebuilds says which one. It works in a process of its own, and a
process that dies is followed by another, which goes on where the rebuild was noted last.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from projections import generations
from projections.generations import Generation
from service.database import Pool
from service.processes.scan_loop import ScanLoop
from service.replay.view_rebuild import BatchResult, RebuildBusy, RebuildProgress, RebuildScope, rebuild_views
from service.tasks.background import background

log = structlog.get_logger()

# Seconds between two looks at the states of the generations, if this software has any: so late may other processes
# read the new shape.
SCAN_EVERY_S = 5.0
# The share of one core that a fill may use.
MAX_LOAD = 0.5
# Whether folds work in a process of their own: those of large streams would hold the event loop.
HAS_OWN_PROCESS = True


class GenerationFill:
    """Fills the generations of this software that are being built. `database_url` needs no pooler in front of it."""

    def __init__(self, pool: Pool, database_url: str) -> None:
        self._pool = pool
        self._url = database_url
        self._problem: str | None = None
        self._loop = ScanLoop("view_generations", every_s=SCAN_EVERY_S)

    async def check_health(self) -> str | None:
        """Returns None if all is well, else one line about a generation that could not be filled."""
        return self._problem

    async def run(self) -> None:
        """Fills until cancelled."""
        if generations.GENERATIONS:
            await self._loop.run(self.scan)

    async def scan(self) -> None:
        """Notes which generations are live, and fills those that are not, one after another."""
        async with self._pool.acquire() as db:
            building = await generations.load_states(db)
        for generation in building:
            try:
                await self._fill(generation)
            except RebuildBusy:
                return

    async def _fill(self, generation: Generation) -> None:
        scope = RebuildScope(views=frozenset(generation.tables), max_load=MAX_LOAD, has_own_process=HAS_OWN_PROCESS)
        name = f"{generation.view} {generation.number}"
        log.info("view_generation_started", view=generation.view, generation=generation.number)
        progress = await rebuild_views(self._url, scope, _ignore)
        if progress.broken:
            self._problem = f"{name} cannot be filled: {progress.broken[0]}"
            log.error("view_generation_incomplete", view=generation.view, streams=len(progress.broken))
            return
        self._problem = None
        async with self._pool.acquire() as db:
            if await generations.make_live(db, generation):
                log.info("view_generation_live", view=generation.view, generation=generation.number)
            await generations.load_states(db)


def _ignore(progress: RebuildProgress, result: BatchResult) -> None:
    pass


@asynccontextmanager
async def generations_lifespan(pool: Pool, database_url: str) -> AsyncIterator[GenerationFill]:
    """Yields the fill, which works in the background."""
    fill = GenerationFill(pool, database_url)
    async with background(fill.run()):
        yield fill
