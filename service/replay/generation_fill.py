"""Fills new shapes of views beside the older ones while servers work, and then lets answers be read from them.

One process of all does this at a time: the lock of rebuilds says which one. It works in a process of its own, and a
process that dies is followed by another, which goes on where the rebuild was noted last. Streams whose events lead
to no rows are noted too: every process reads them in each scan, and works on them again after growing pauses.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import monotonic

import structlog

from projections import generations
from projections.generations import Generation
from service.database import DATABASE_ERRORS, Pool
from service.processes.scan_loop import ScanLoop
from service.replay.view_rebuild import (
    BatchResult,
    RebuildBusy,
    RebuildProgress,
    RebuildScope,
    find_note,
    rebuild_views,
)
from service.tasks.background import background
from sql.connection import Connection

log = structlog.get_logger()

# Seconds between two looks at the states of the generations, if this software has any: so late may other processes
# read the new shape.
SCAN_EVERY_S = 5.0
# Seconds until a process tries again to fill a generation whose fill failed. Each failure doubles them, up to
# MAX_RETRY_S.
RETRY_S = 10.0
MAX_RETRY_S = 600.0
# The share of one core that a fill may use.
MAX_LOAD = 0.5
# Whether folds work in a process of their own: those of large streams would hold the event loop.
HAS_OWN_PROCESS = True


@dataclass(frozen=True, slots=True)
class _Failure:
    """A fill of a generation that failed. The next attempt follows at `retry_at` of the monotonic clock."""

    retry_at: float
    pause_s: float


class GenerationFill:
    """Fills the generations of this software that are being built. `database_url` needs no pooler in front of it."""

    def __init__(self, pool: Pool, database_url: str) -> None:
        self._pool = pool
        self._url = database_url
        self._problem: str | None = None
        self._failures: dict[tuple[str, int], _Failure] = {}
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
        for generation in await self._load_states():
            failure = self._failures.get((generation.view, generation.number))
            if failure is not None and monotonic() < failure.retry_at:
                continue
            try:
                await self._fill(generation)
            except RebuildBusy:
                return
            except DATABASE_ERRORS:
                raise
            except Exception:
                self._postpone(generation)
                raise
            await self._load_states()

    async def _load_states(self) -> list[Generation]:
        """Returns the generations that are being built. Reads which of them have broken streams, for all processes."""
        async with self._pool.acquire() as db:
            building = await generations.load_states(db)
            problems = [problem for each in building if (problem := await _find_problem(db, each))]
        self._problem = problems[0] if problems else None
        keys = {(each.view, each.number) for each in building}
        self._failures = {key: failure for key, failure in self._failures.items() if key in keys}
        return building

    async def _fill(self, generation: Generation) -> None:
        scope = RebuildScope(
            views=frozenset(generation.tables),
            max_load=MAX_LOAD,
            has_own_process=HAS_OWN_PROCESS,
            retries_broken=True,
        )
        log.info("view_generation_started", view=generation.view, generation=generation.number)
        progress = await rebuild_views(self._url, scope, _ignore)
        if progress.broken:
            pause_s = self._postpone(generation)
            log.error(
                "view_generation_incomplete",
                view=generation.view,
                streams=len(progress.broken),
                first=progress.broken[0],
                retry_s=pause_s,
            )
            return
        async with self._pool.acquire() as db:
            if await generations.make_live(db, generation):
                log.info("view_generation_live", view=generation.view, generation=generation.number)

    def _postpone(self, generation: Generation) -> float:
        """Returns the seconds until this process tries again."""
        key = (generation.view, generation.number)
        failure = self._failures.get(key)
        pause_s = RETRY_S if failure is None else min(2 * failure.pause_s, MAX_RETRY_S)
        self._failures[key] = _Failure(monotonic() + pause_s, pause_s)
        return pause_s


async def _find_problem(db: Connection, generation: Generation) -> str | None:
    """Returns a line about the streams that the last fill of a generation noted as broken, or None if it has none."""
    note = await find_note(db, generation.tables)
    if note is None or not note.broken:
        return None
    others = f", and those of {len(note.broken) - 1:,} others" if len(note.broken) > 1 else ""
    name = f"{generation.view} {generation.number}"
    return f"{name} cannot be filled: the events of {note.broken[0]} lead to no rows{others}"


def _ignore(progress: RebuildProgress, result: BatchResult) -> None:
    pass


@asynccontextmanager
async def generations_lifespan(pool: Pool, database_url: str) -> AsyncIterator[GenerationFill]:
    """Yields the fill, which works in the background."""
    fill = GenerationFill(pool, database_url)
    async with background(fill.run()):
        yield fill
