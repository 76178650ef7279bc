"""Postgres restarts under live processes: none of them takes over the work of the others."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

import service.processes.peers
from service.embedded.postgres import EmbeddedPostgres
from service.migrations import prepare_database
from service.processes.peers import Peers
from tests.clock import IDS
from tests.embedded.test_postgres import postmaster
from tests.runs.fake_model import FakeModel, Hold, says
from tests.runs.process import Process

pytestmark = [pytest.mark.embedded, pytest.mark.slow]
RUNS_EACH = 3
NOWHERE = "postgresql://127.0.0.1:1/nowhere"


async def test_no_run_changes_its_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first process to return sees no lock of the others, and scans before they are back."""
    # A busy machine may take longer than the real grace until all are back.
    monkeypatch.setattr(service.processes.peers, "GRACE_S", 60.0)
    postgres = EmbeddedPostgres(tmp_path)
    url = await postgres.start()
    await prepare_database(url)
    async with AsyncExitStack() as stack:
        holds = [Hold() for _ in range(3 * RUNS_EACH)]
        processes = [await _begin(stack, url, number, holds) for number in range(3)]
        first, *others = processes
        for process in processes:
            await process.wait_for_peers(*(other for other in processes if other is not process))
        for process in others:
            process.peers._url = NOWHERE
        postmaster(tmp_path).kill()
        await postgres.wait()
        await postgres.start()
        await _until_joined(first)
        await first.supervisor._scan()
        assert first.supervisor.active == RUNS_EACH, "the others have a moment to return"
        for process in others:
            process.peers._url = url
            await _until_joined(process)
        for process in processes:
            await process.wait_for_peers(*(other for other in processes if other is not process))
        for process in processes:
            await process.supervisor._scan()
        for hold in holds:
            hold.opened.set()
        for number, process in enumerate(processes):
            for thread in _threads(number):
                assert (await process.wait_until_settled(thread)).status == "completed"
            assert len(process.model.requests) == RUNS_EACH, "no model call is made twice"
    await postgres.stop()


async def test_a_process_that_does_not_return_is_dead_after_the_grace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service.processes.peers, "GRACE_S", 0.2)
    postgres = EmbeddedPostgres(tmp_path)
    url = await postgres.start()
    await prepare_database(url)
    async with AsyncExitStack() as stack:
        holds = [Hold() for _ in range(2 * RUNS_EACH)]
        first, other = [await _begin(stack, url, number, holds) for number in range(2)]
        await first.wait_for_peers(other)
        other.peers._url = NOWHERE
        postmaster(tmp_path).kill()
        await postgres.wait()
        await postgres.start()
        await first.wait_for_peers()
    await postgres.stop()


async def test_a_process_that_joins_just_after_the_restart_takes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has never seen the processes that are about to return."""
    monkeypatch.setattr(service.processes.peers, "GRACE_S", 60.0)
    postgres = EmbeddedPostgres(tmp_path)
    url = await postgres.start()
    await prepare_database(url)
    async with AsyncExitStack() as stack:
        holds = [Hold() for _ in range(RUNS_EACH)]
        first = await _begin(stack, url, 0, holds)
        first.peers._url = NOWHERE
        postmaster(tmp_path).kill()
        await postgres.wait()
        await postgres.start()
        late = await stack.enter_async_context(Process(url, FakeModel(None)))
        assert first.peers.process in late.peers.live
        await late.supervisor._scan()
        assert late.supervisor.active == 0
        first.peers._url = url
        await _until_joined(first)
        for hold in holds:
            hold.opened.set()
        for thread in _threads(0):
            assert (await first.wait_until_settled(thread)).status == "completed"
        assert len(first.model.requests) == RUNS_EACH
        assert late.model.requests == []
    await postgres.stop()


async def test_the_only_server_of_a_database_waits_for_nobody(tmp_path: Path) -> None:
    postgres = EmbeddedPostgres(tmp_path)
    url = await postgres.start()
    await prepare_database(url)
    async with AsyncExitStack() as stack:
        first = await _begin(stack, url, 0, [Hold() for _ in range(RUNS_EACH)])
        await first.kill()
        alone = Peers(url, ids=IDS, wake=lambda _: None, is_alone=True)
        await alone.join()
        assert alone.live == {alone.process}
        await alone.leave()
    await postgres.stop()


def _threads(number: int) -> list[str]:
    return [f"t{number}_{place}" for place in range(RUNS_EACH)]


async def _begin(stack: AsyncExitStack, url: str, number: int, holds: list[Hold]) -> Process:
    """Starts a process whose runs wait in their model calls."""
    own = holds[number * RUNS_EACH : (number + 1) * RUNS_EACH]
    scripts = [[hold, *says("Hello.")] for hold in own]
    process = await stack.enter_async_context(Process(url, FakeModel(None, *scripts)))
    for thread in _threads(number):
        await process.say(thread, "Hi")
        await process.begin(thread)
    for hold in own:
        await hold.wait()
    return process


async def _until_joined(process: Process) -> None:
    async with asyncio.timeout(60):
        while not process.peers.has_lock:
            process._changed.clear()
            await process._changed.wait()
