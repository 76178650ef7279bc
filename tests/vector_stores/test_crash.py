"""The crash law of indexing: a crash at any append, then resume, ends as if there had been no crash.

A process dies right before or right after its n-th append, for every n. Another process, which finds its chunks,
replaces it, and the client continues its scenario.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from events.errors import NotFound
from events.streams import VECTOR_STORE
from projections.rebuild import verify
from service.database import Pool
from service.feed import Feed
from service.vector_stores import supervisor, worker
from service.writer.stream_state import fold
from tests.fake_search_engine import WAIT_S
from tests.runs.test_crash import DyingWriter, When
from tests.vector_stores.process import Process

MAX_APPENDS = 30
ENDED = {"good": "completed", "bad": "failed", "flaky": "completed"}


async def index_some(process: Process, store: str) -> None:
    await process.add("good", store=store)
    await process.add("bad", "flaky", store=store)
    await process.wait_until_indexed(store)


async def index_and_remove(process: Process, store: str) -> None:
    """The client removes a file while it is being indexed."""
    if "good" not in await _statuses(process, store):
        await process.add("slow", "good", store=store)
    if "slow" in await _statuses(process, store):
        await process.search_engine.until_started(1)
        await process.remove("slow", store)
    await process.wait_until_indexed(store)


async def _statuses(process: Process, store: str) -> dict[str, str]:
    try:
        await process.store(store)
    except NotFound:
        return {}
    return await process.statuses(store)


SCENARIOS: dict[str, tuple[Callable[[Process, str], Awaitable[None]], dict[str, str]]] = {
    "some": (index_some, {"good": "completed", "bad": "failed", "flaky": "completed"}),
    "remove": (index_and_remove, {"good": "completed"}),
}


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("name", SCENARIOS)
async def test_a_crash_at_any_append_changes_nothing(
    database_url: str, tmp_path: Path, name: str, when: When, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "SCAN_EVERY_S", 0.05)
    monkeypatch.setattr(worker, "RETRY_AFTER_S", 0.01)
    for at in range(1, MAX_APPENDS):
        if not await play_with_crash(database_url, tmp_path, name, at, when):
            # The scenario has fewer appends than that, so each of them was tried.
            assert at > 6
            return
    raise AssertionError(f"{name} makes more than {MAX_APPENDS} appends")


async def play_with_crash(url: str, folder: Path, name: str, at: int, when: When) -> bool:
    """Plays the scenario with a crash at that append, and resumes. Returns False if there are fewer appends."""
    client, statuses = SCENARIOS[name]
    store = f"vs_{at}"
    chunks: dict[Any, Any] = {}

    def make_writer(pool: Pool, feed: Feed) -> DyingWriter:
        return DyingWriter(pool, feed, at, when)

    async with Process(url, folder, chunks=chunks, make_writer=make_writer) as first:
        assert isinstance(first.writer, DyingWriter)
        playing = asyncio.ensure_future(client(first, store))
        death = asyncio.create_task(first.writer.dead.wait())
        await asyncio.wait({playing, death}, timeout=WAIT_S, return_when=asyncio.FIRST_COMPLETED)
        dead = first.writer.dead.is_set()
        await first.kill()
        playing.cancel()
        death.cancel()
        await asyncio.wait({playing, death})
        if not dead:
            assert playing.exception() is None if not playing.cancelled() else False
    async with Process(url, folder, chunks=chunks) as second:
        async with asyncio.timeout(WAIT_S):
            await client(second, store)
        await _check_end(second, store, statuses)
    return dead


async def _check_end(process: Process, store: str, statuses: dict[str, str]) -> None:
    assert await process.statuses(store) == statuses
    made = await process.store(store)
    good = [name for name, status in statuses.items() if status == "completed"]
    assert (made.completed, made.usage_bytes) == (len(good), sum(map(len, good)))
    await process.search_engine.sweep()
    found = {file: [*jobs.values()] for (_, file), jobs in process.search_engine.chunks.items()}
    assert found == {f"file-{name}": [[name]] for name in good}, "each exactly once"
    async with process.pool.acquire() as db:
        assert await verify(db, store) == []
        assert (await fold(db, VECTOR_STORE, store)).counts.in_progress == 0
