"""Indexing as background work: results, failures, removals, deadlines, limits and takeovers."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from events.file import SMALL_FILE, DeleteFile
from events.vector_store.commands import BatchFact, CancelBatch, CreateBatch, DeleteStore, NewFile
from events.vector_store.decide import MAX_ATTEMPTS
from projections import vector_store_files as files
from projections.rebuild import verify
from service.fair_places import FairPlaces
from service.vector_stores import supervisor, worker
from tests.clock import LoopClock
from tests.fake_search_engine import WAIT_S
from tests.projections.helpers import ORIGIN, OTHER
from tests.vector_stores.process import AUTO, STORE, Process


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "RETRY_AFTER_S", 0.01)
    monkeypatch.setattr(supervisor, "SCAN_EVERY_S", 0.05)


async def until_idle(process: Process) -> None:
    async with asyncio.timeout(WAIT_S):
        while process.indexing.active:
            await asyncio.sleep(0)


async def test_files_are_completed_or_fail(database_url: str, tmp_path: Path) -> None:
    async with Process(database_url, tmp_path) as process:
        await process.add("good", "bad", "odd", "flaky")
        store = await process.wait_until_indexed()
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


@pytest.mark.slow
async def test_a_file_fails_after_the_last_attempt(database_url: str, tmp_path: Path) -> None:
    async with Process(database_url, tmp_path) as process:
        await process.add("crash")
        store = await process.wait_until_indexed()
        assert store.failed == 1
        assert len(process.search_engine.started) == MAX_ATTEMPTS
        error = (await process.files())["crash"].last_error
        assert error is not None
        assert error["code"] == "server_error"


async def test_the_number_of_files_at_once_is_limited(database_url: str, tmp_path: Path) -> None:
    async with Process(database_url, tmp_path, max_jobs=2) as process:
        await process.add(*(f"slow-{n}" for n in range(5)))
        await process.search_engine.until_started(2)
        assert (await process.store()).in_progress == 5
        process.search_engine.release()
        assert (await process.wait_until_indexed()).completed == 5
        assert process.search_engine.most == 2


@pytest.mark.parametrize("has_many_stores", [False, True])
async def test_large_files_do_not_hold_up_a_small_one(
    has_many_stores: bool, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More large files wait than one scan reads, in the store of the small files or in stores of their own."""
    monkeypatch.setattr(supervisor, "CANDIDATES", 4)
    async with Process(database_url, tmp_path, max_jobs=2) as process:
        for number in range(8):
            store = f"vs_{number}" if has_many_stores else STORE
            await process.add(f"slow-{number}", store=store, size=SMALL_FILE + 1)
        await process.search_engine.until_started(2)
        await process.add("small", "tiny")
        async with asyncio.timeout(WAIT_S):
            while (await process.store()).completed < 2:
                await asyncio.sleep(0.01)
        assert process.indexing.active == 2
        process.search_engine.release()
        await process.wait_until_indexed()


async def test_the_files_of_one_project_do_not_hold_up_another(database_url: str, tmp_path: Path) -> None:
    async with Process(database_url, tmp_path, max_jobs=2) as process:
        for number in range(4):
            await process.add(*(f"slow-{number}-{n}" for n in range(15)), store=f"vs_a{number}")
        await process.search_engine.until_started(2)
        await process.add("good-1", "good-2", "good-3", store="vs_b", origin=OTHER)
        async with asyncio.timeout(WAIT_S):
            while len(process.search_engine.ended) < 3:
                await asyncio.sleep(0.01)
        assert {name for name, _ in process.search_engine.ended} == {"good-1", "good-2", "good-3"}
        assert process.indexing.active >= 2
        process.search_engine.release()


@pytest.mark.slow
async def test_stores_take_turns(database_url: str, tmp_path: Path) -> None:
    async with Process(database_url, tmp_path, max_jobs=2) as process:
        await process.add(*(f"slow-{n}" for n in range(10)), store="vs_big")
        await process.search_engine.until_started(2)
        await process.add("slow-small", store="vs_small")
        process.search_engine.release()
        await process.wait_until_indexed("vs_small")
        order = [name for name, _ in process.search_engine.started]
        assert order.index("slow-small") < 6, "it does not wait for the whole bigger store"


async def test_removing_a_file_stops_its_indexing(database_url: str, tmp_path: Path) -> None:
    async with Process(database_url, tmp_path) as process:
        await process.add("slow", "good")
        await process.search_engine.until_started(2)
        await process.remove("slow")
        await until_idle(process)
        assert await process.statuses() == {"good": "completed"}
        assert set(process.search_engine.chunks) == {(STORE, "file-good")}
        await process.remove("good")
        async with asyncio.timeout(WAIT_S):
            while process.search_engine.chunks:
                await asyncio.sleep(0)


async def test_deleting_a_store_stops_its_work_and_removes_its_chunks(database_url: str, tmp_path: Path) -> None:
    async with Process(database_url, tmp_path) as process:
        await process.add("slow", "good")
        await process.search_engine.until_started(2)
        async with asyncio.timeout(WAIT_S):
            while "good" not in dict(process.search_engine.ended):
                await asyncio.sleep(0)
        await process.do(DeleteStore())
        await until_idle(process)
        async with asyncio.timeout(WAIT_S):
            while process.search_engine.chunks:
                await asyncio.sleep(0)


async def test_deleting_a_file_before_it_is_indexed(database_url: str, tmp_path: Path) -> None:
    """The File is deleted before it is removed from the store, so it is never indexed."""
    async with Process(database_url, tmp_path, max_jobs=1) as process:
        await process.add("slow-1", "slow-2")
        await process.search_engine.until_started(1)
        await process.writer.file(ORIGIN, "file-slow-2", DeleteFile())
        process.search_engine.release()
        async with asyncio.timeout(WAIT_S):
            while "slow-1" not in dict(process.search_engine.ended):
                await asyncio.sleep(0)
        await process.remove("slow-2")
        assert (await process.wait_until_indexed()).completed == 1
        assert "slow-2" not in dict(process.search_engine.started)


async def test_a_batch_is_cancelled(database_url: str, tmp_path: Path) -> None:
    async with Process(database_url, tmp_path, max_jobs=1) as process:
        await process.add("good")
        await process.wait_until_indexed()
        await process.create_files("slow-1", "slow-2")
        new = [NewFile(f"file-{name}", name, 1, {}, AUTO) for name in ("slow-1", "slow-2")]
        await process.do(CreateBatch("vsfb_1", new, {}, 10))
        await process.search_engine.until_started(2)
        await process.do(CancelBatch("vsfb_1", BatchFact(2, cancelled=False)))
        await until_idle(process)
        assert await process.statuses() == {
            "good": "completed",
            "slow-1": "cancelled",
            "slow-2": "cancelled",
        }


async def test_a_file_that_is_added_again_is_indexed_again(database_url: str, tmp_path: Path) -> None:
    async with Process(database_url, tmp_path) as process:
        await process.add("slow")
        await process.search_engine.until_started(1)
        await process.add("slow", author="me")
        await process.search_engine.until_started(2)
        process.search_engine.release()
        assert (await process.wait_until_indexed()).completed == 1
        [jobs] = process.search_engine.chunks.values()
        assert list(jobs) == [2], "the chunks of the first attempt are deleted"


async def test_a_deadline_ends_an_attempt_that_hangs(database_url: str, tmp_path: Path) -> None:
    clock = LoopClock(asyncio.get_running_loop())
    async with Process(database_url, tmp_path, lifetime=600) as process:
        await process.add("slow")
        await process.search_engine.until_started(1)
        clock.skip(601)
        assert (await process.wait_until_indexed()).failed == 1
        error = (await process.files())["slow"].last_error
        assert error == {"code": "server_error", "message": "Indexing the file took longer than 600 seconds."}


@pytest.mark.slow
async def test_another_process_continues_after_a_death(database_url: str, tmp_path: Path) -> None:
    async with Process(database_url, tmp_path, max_jobs=1) as first:
        await first.add("slow", "good")
        await first.search_engine.until_started(1)
        async with Process(database_url, tmp_path) as second:
            await second.wait_until_indexed(left=1)
            await first.kill()
            second.search_engine.release()
            assert (await second.wait_until_indexed()).completed == 2
            assert dict(second.search_engine.started)["slow"] == 3


async def test_a_removal_stops_the_work_of_another_process(database_url: str, tmp_path: Path) -> None:
    async with Process(database_url, tmp_path, max_jobs=1) as first, Process(database_url, tmp_path) as second:
        second.indexing._places = FairPlaces(0)
        await first.add("slow")
        await first.search_engine.until_started(1)
        await second.remove("slow")
        await until_idle(first)
        assert (await second.store()).in_progress == 0


async def test_the_attempt_of_a_process_that_hangs_is_ended(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process lives and holds its lock, but does nothing: others end its attempt some time after the deadline."""
    monkeypatch.setattr(supervisor, "GRACE", -supervisor.GRACE * 1000)
    async with Process(database_url, tmp_path) as first:
        await first.add("slow")
        await first.search_engine.until_started(1)
        first.pool.terminate()  # or it would release the file
        first._tasks.pop().cancel()
        async with Process(database_url, tmp_path) as second:
            second.indexing._places = FairPlaces(0)
            assert (await second.wait_until_indexed()).failed == 1


@pytest.mark.slow
async def test_orderly_stops_use_up_no_attempts(database_url: str, tmp_path: Path) -> None:
    last_job: int | None = None
    for number in range(MAX_ATTEMPTS + 2):
        async with Process(database_url, tmp_path) as process:
            if number == 0:
                await process.add("slow")
            await process.search_engine.until_started(1)
            await process.stop()
            assert process.search_engine.previous == [last_job], "the attempt continues the one before"
            [(_, last_job)] = process.search_engine.started
            async with process.pool.acquire() as db:
                fact = await files.fact(db, STORE, "file-slow")
                assert fact is not None
                assert (fact.process, fact.attempt) == (None, 0), "the file is released"
                assert await verify(db, STORE) == []
    async with Process(database_url, tmp_path) as process:
        process.search_engine.release()
        await process.wait_until_indexed()
        assert await process.statuses() == {"slow": "completed"}
