"""Indexing as background work: ends, failures, removals, deadlines, bounds and takeovers."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from events.file import DeleteFile
from events.vector_store.commands import BatchFact, CancelBatch, CreateBatch, DeleteStore, NewFile
from events.vector_store.decide import MAX_ATTEMPTS
from projections.rebuild import verify
from service.vector_stores import supervisor, worker
from tests.clock import LoopClock
from tests.fake_search_engine import WAIT_S
from tests.projections.helpers import ORIGIN
from tests.vector_stores.process import AUTO, STORE, Process


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "RETRY_AFTER_S", 0.01)
    monkeypatch.setattr(supervisor, "SCAN_EVERY_S", 0.05)


async def until_idle(process: Process) -> None:
    async with asyncio.timeout(WAIT_S):
        while process.indexing.active:
            await asyncio.sleep(0)


async def test_files_come_to_their_ends(database_url: str, tmp_path: Path) -> None:
    async with Process(database_url, tmp_path) as process:
        await process.add("good", "bad", "odd", "flaky")
        store = await process.settled()
        assert (store.completed, store.failed, store.usage_bytes) == (2, 2, len("good") + len("flaky"))
        found = await process.files()
        assert {name: file.status for name, file in found.items()} == {
            "good": "completed",
            "bad": "failed",
            "odd": "failed",
            "flaky": "completed",
        }
        assert found["bad"].last_error == {"code": "invalid_file", "message": "The file could not be parsed."}
        assert found["odd"].last_error is not None
        assert found["odd"].last_error["code"] == "unsupported_file"
        async with process.pool.acquire() as db:
            assert await verify(db, STORE) == []


async def test_what_breaks_every_time_has_failed(database_url: str, tmp_path: Path) -> None:
    async with Process(database_url, tmp_path) as process:
        await process.add("crash")
        store = await process.settled()
        assert store.failed == 1
        assert len(process.vectors.started) == MAX_ATTEMPTS
        error = (await process.files())["crash"].last_error
        assert error is not None
        assert error["code"] == "server_error"


async def test_so_many_at_once(database_url: str, tmp_path: Path) -> None:
    async with Process(database_url, tmp_path, max_jobs=2) as process:
        await process.add(*(f"slow-{n}" for n in range(5)))
        await process.vectors.until_started(2)
        assert (await process.store()).in_progress == 5
        process.vectors.release()
        assert (await process.settled()).completed == 5
        assert process.vectors.most == 2


async def test_stores_take_turns(database_url: str, tmp_path: Path) -> None:
    async with Process(database_url, tmp_path, max_jobs=2) as process:
        await process.add(*(f"slow-{n}" for n in range(10)), store="vs_big")
        await process.vectors.until_started(2)
        await process.add("slow-small", store="vs_small")
        process.vectors.release()
        await process.settled("vs_small")
        order = [name for name, _ in process.vectors.started]
        assert order.index("slow-small") < 6, "not behind all of the bigger store"


async def test_a_removed_file_is_not_indexed_on(database_url: str, tmp_path: Path) -> None:
    async with Process(database_url, tmp_path) as process:
        await process.add("slow", "good")
        await process.vectors.until_started(2)
        await process.remove("slow")
        await until_idle(process)
        assert await process.statuses() == {"good": "completed"}
        assert set(process.vectors.chunks) == {(STORE, "file-good")}
        await process.remove("good")
        async with asyncio.timeout(WAIT_S):
            while process.vectors.chunks:
                await asyncio.sleep(0)


async def test_a_deleted_store_takes_its_work_and_chunks_along(database_url: str, tmp_path: Path) -> None:
    async with Process(database_url, tmp_path) as process:
        await process.add("slow", "good")
        await process.vectors.until_started(2)
        async with asyncio.timeout(WAIT_S):
            while "good" not in dict(process.vectors.ended):
                await asyncio.sleep(0)
        await process.do(DeleteStore())
        await until_idle(process)
        async with asyncio.timeout(WAIT_S):
            while process.vectors.chunks:
                await asyncio.sleep(0)


async def test_a_file_that_goes_while_it_is_being_indexed(database_url: str, tmp_path: Path) -> None:
    """Its File is gone before anybody took it out of the store: it is not there, and the work comes to nothing."""
    async with Process(database_url, tmp_path, max_jobs=1) as process:
        await process.add("slow-1", "slow-2")
        await process.vectors.until_started(1)
        await process.writer.file(ORIGIN, "file-slow-2", DeleteFile())
        process.vectors.release()
        async with asyncio.timeout(WAIT_S):
            while "slow-1" not in dict(process.vectors.ended):
                await asyncio.sleep(0)
        await process.remove("slow-2")
        assert (await process.settled()).completed == 1
        assert "slow-2" not in dict(process.vectors.started)


async def test_a_batch_is_cancelled(database_url: str, tmp_path: Path) -> None:
    async with Process(database_url, tmp_path, max_jobs=1) as process:
        await process.add("good")
        await process.settled()
        await process.have("slow-1", "slow-2")
        new = [NewFile(f"file-{name}", name, 1, {}, AUTO) for name in ("slow-1", "slow-2")]
        await process.do(CreateBatch("vsfb_1", new, {}, 10))
        await process.vectors.until_started(2)
        await process.do(CancelBatch("vsfb_1", BatchFact(2, cancelled=False)))
        await until_idle(process)
        assert await process.statuses() == {
            "good": "completed",
            "slow-1": "cancelled",
            "slow-2": "cancelled",
        }


async def test_a_file_added_again_is_indexed_anew(database_url: str, tmp_path: Path) -> None:
    async with Process(database_url, tmp_path) as process:
        await process.add("slow")
        await process.vectors.until_started(1)
        await process.add("slow", author="me")
        await process.vectors.until_started(2)
        process.vectors.release()
        assert (await process.settled()).completed == 1
        [jobs] = process.vectors.chunks.values()
        assert list(jobs) == [2], "what the first attempt had was not kept"


async def test_a_deadline_ends_what_hangs(database_url: str, tmp_path: Path) -> None:
    clock = LoopClock(asyncio.get_running_loop())
    async with Process(database_url, tmp_path, lifetime=600) as process:
        await process.add("slow")
        await process.vectors.until_started(1)
        clock.skip(601)
        assert (await process.settled()).failed == 1
        error = (await process.files())["slow"].last_error
        assert error == {"code": "server_error", "message": "Indexing the file took longer than 600 seconds."}


async def test_another_process_goes_on_where_one_died(database_url: str, tmp_path: Path) -> None:
    async with Process(database_url, tmp_path, max_jobs=1) as first:
        await first.add("slow", "good")
        await first.vectors.until_started(1)
        async with Process(database_url, tmp_path) as second:
            await second.settled(left=1)
            await first.kill()
            second.vectors.release()
            assert (await second.settled()).completed == 2
            assert dict(second.vectors.started)["slow"] == 3


async def test_a_removal_stops_the_work_of_another_process(database_url: str, tmp_path: Path) -> None:
    async with Process(database_url, tmp_path, max_jobs=1) as first, Process(database_url, tmp_path) as second:
        second.indexing._max_jobs = 0
        await first.add("slow")
        await first.vectors.until_started(1)
        await second.remove("slow")
        await until_idle(first)
        assert (await second.store()).in_progress == 0


async def test_a_process_that_hangs_is_overruled(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lives, holds its lock and does nothing: others end the attempt some time after its deadline."""
    monkeypatch.setattr(supervisor, "GRACE", -supervisor.GRACE * 1000)
    async with Process(database_url, tmp_path) as first:
        await first.add("slow")
        await first.vectors.until_started(1)
        first._tasks.pop().cancel()
        async with Process(database_url, tmp_path) as second:
            second.indexing._max_jobs = 0
            assert (await second.settled()).failed == 1
