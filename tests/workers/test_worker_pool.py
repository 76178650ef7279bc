"""The parent and its seats, over processes that are no servers (`tests.workers.toy_worker`)."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from service.errors import StartupError
from service.workers.shared_memory import create_memory
from service.workers.worker_pool import WorkerPool
from service.workers.worker_process import WorkerProcess
from tests.client import KEY

TOY = "tests.workers.toy_worker"
WAIT_S = 20.0


class Toys:
    """The pool and the process ids of its workers, in the order of their starts."""

    def __init__(self, *orders: Mapping[str, Any], count: int) -> None:
        self._orders = orders
        self._starts = 0
        self.ended: list[int] = []
        self.pool = WorkerPool(
            count, make_order=self._order, descriptors=[], on_end=self.ended.append, database_wait_s=0, module=TOY
        )

    def _order(self, index: int, is_first: bool) -> Mapping[str, Any]:
        number, self._starts = self._starts, self._starts + 1
        return {"number": number, **(self._orders[number] if number < len(self._orders) else {})}

    def serving(self) -> list[int]:
        """Returns the process ids of those that hold the seats and have not ended."""
        holders = [seat.process for seat in self.pool._seats]
        return [holder.pid for holder in holders if holder is not None and not holder.has_ended]

    def children(self) -> list[int]:
        """Returns the process ids of all that have not ended, in the order of their starts."""
        return [process.pid for process in self.pool._processes]

    async def wait_until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT_S):
            while not is_so():
                await asyncio.sleep(0.02)


@asynccontextmanager
async def run_toys(*orders: Mapping[str, Any], count: int = 1) -> AsyncIterator[Toys]:
    """Runs a pool of toys. The first ones that are started get the orders, the others an empty one."""
    toys, ready = Toys(*orders, count=count), asyncio.Event()
    running = asyncio.create_task(toys.pool.run(lambda _base_url, _console_url: ready.set()))
    try:
        async with asyncio.timeout(WAIT_S):
            await ready.wait()
        yield toys
        assert not running.done(), "the parent has ended"
    finally:
        running.cancel()
        await asyncio.wait({running})
    assert running.cancelled()


async def test_a_worker_that_is_killed_before_the_server_serves_is_started_again() -> None:
    async with run_toys({"is_killed": True}, {}, {"is_killed": True}, {"is_killed": True}, count=2) as toys:
        assert len(toys.serving()) == 2
        assert len(toys.ended) == 3


@pytest.mark.parametrize(
    ("orders", "reason", "starts"),
    [
        ([{"failure": "The port is taken"}], "The port is taken", 1),
        ([{"is_killed": True}] * 5, "A worker ended before it was ready: SIGKILL", 5),
    ],
    ids=["reason", "killed"],
)
async def test_a_server_whose_first_worker_cannot_start_ends(
    orders: list[Mapping[str, Any]], reason: str, starts: int
) -> None:
    toys = Toys(*orders, count=2)
    with pytest.raises(ExceptionGroup) as raised:
        await asyncio.wait_for(toys.pool.run(lambda _base_url, _console_url: None), WAIT_S)
    assert raised.group_contains(StartupError, match=reason)
    assert len(toys.ended) == starts


async def test_a_worker_that_dies_while_its_predecessor_retires_is_replaced() -> None:
    async with run_toys({"is_busy": True}) as toys:
        [old] = toys.serving()
        toys.pool.restart()
        await toys.wait_until(lambda: toys.serving() != [old])
        [killed] = toys.serving()
        os.kill(killed, signal.SIGKILL)
        await toys.wait_until(lambda: toys.serving() not in ([], [killed]))
        assert old in toys.children()


async def test_a_worker_that_dies_while_its_successor_hangs_is_replaced() -> None:
    async with run_toys({}, {"hangs": True}) as toys:
        [killed] = toys.serving()
        toys.pool.restart()
        await toys.wait_until(lambda: len(toys.children()) == 2)
        _, hanging = toys.children()
        os.kill(killed, signal.SIGKILL)
        await toys.wait_until(lambda: toys.serving() not in ([], [killed]))
        assert hanging in toys.children()


async def test_workers_that_die_and_retire_leave_one_in_each_seat() -> None:
    async with run_toys(count=2) as toys:
        first = toys.serving()
        toys.pool.restart()
        os.kill(first[1], signal.SIGKILL)
        await toys.wait_until(lambda: not {*first} & {*toys.children()})
        await toys.wait_until(lambda: len(toys.children()) == 2 and {*toys.children()} == {*toys.serving()})


async def test_counts_of_two_versions_do_not_end_the_parent(tmp_path: Path) -> None:
    """The newer worker's form holds. The parent adds up the counts that both have in the same form."""
    old = {"calls": 1, "times": {"counts": [1, 2], "total": 1.0}, "kinds": 7}
    new = {"calls": 2, "times": {"counts": [1, 2, 3], "total": 2.0}, "kinds": {"a": 1}}
    async with run_toys({"counts": old, "report": str(tmp_path / "report")}, {"counts": new}, count=2) as toys:
        assert await _collect(toys, tmp_path / "report") == {
            "calls": 3,
            "times": {"counts": [1, 2, 3], "total": 3.0},
            "kinds": {"a": 1},
        }


async def test_a_message_that_the_parent_does_not_understand_has_no_effect(tmp_path: Path) -> None:
    report = tmp_path / "report"
    messages: list[dict[str, Any]] = [
        {"kind": "beat"},
        {"kind": "collect"},
        {"kind": "news"},
        {"kind": "answer", "id": 1},
    ]
    messages += [{"kind": "beat", "counts": [1]}, {"kind": "answer", "id": 1, "counts": 1, "gauges": {}}]
    async with run_toys({"first": messages, "counts": {"calls": 1}, "report": str(report)}) as toys:
        first = toys.serving()
        assert await _collect(toys, report) == {"calls": 1}
        assert toys.serving() == first


async def test_a_worker_that_ends_during_a_collection_counts_once(tmp_path: Path) -> None:
    report = tmp_path / "report"
    ending = {"counts": {"calls": 5}, "ends_at_snapshot": True}
    async with run_toys({"counts": {"calls": 1}, "report": str(report)}, ending, count=2) as toys:
        assert await _collect(toys, report) == {"calls": 6}
        assert len(toys.ended) == 1


async def test_counts_that_were_shown_stay_if_the_worker_is_killed(tmp_path: Path) -> None:
    report = tmp_path / "report"
    async with run_toys({"counts": {"calls": 1}, "report": str(report)}, {"counts": {"calls": 5}}, count=2) as toys:
        assert await _collect(toys, report) == {"calls": 6}
        os.kill(toys.serving()[1], signal.SIGKILL)
        await toys.wait_until(lambda: len(toys.ended) == 1)
        assert await _collect(toys, report) == {"calls": 6}


@pytest.mark.parametrize("free", [0, 1, 2, 3])
async def test_a_start_without_file_descriptors_fails_by_itself(free: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + free, hard))
    try:
        with pytest.raises(StartupError, match=r"A worker cannot be started: .*Too many open files"):
            await WorkerProcess.start(0, {}, [], module=TOY)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_a_worker_leaves_hangups_to_its_parent(tmp_path: Path) -> None:
    """The worker waits for a database at which nobody answers, so that it is at work when the signal comes."""
    settings = {"data_dir": str(tmp_path), "database_wait_s": 60}
    database = "postgresql://nobody@127.0.0.1:9/nothing"
    order = {
        "settings": settings,
        "upstreams": {
            "database_url": database,
            "owner_url": None,
            "api_key": KEY,
            "model_base_url": "http://127.0.0.1:9/v1",
            "model_api_key": None,
            "embedded_model": False,
        },
        "listeners": [],
        "is_alone": False,
        "pool_size": None,
    }
    memory = create_memory()
    worker = await WorkerProcess.start(0, {**order, "memory": memory}, [memory])
    running = asyncio.create_task(worker.run(lambda process, message: None))
    try:
        async with asyncio.timeout(WAIT_S):
            while signal.SIGTERM not in _caught(worker.pid):
                await asyncio.sleep(0.02)
        assert signal.SIGHUP not in _caught(worker.pid)
        worker.signal(signal.SIGHUP)
        worker.signal(signal.SIGTERM)
        await asyncio.wait_for(running, WAIT_S)
    finally:
        worker.signal(signal.SIGKILL)
        await asyncio.wait({running})
        os.close(memory)


async def _collect(toys: Toys, report: Path) -> Mapping[str, Any]:
    """Returns the counts that the worker of the first seat collects."""
    report.unlink(missing_ok=True)
    os.kill(toys.serving()[0], signal.SIGUSR1)
    await toys.wait_until(report.exists)
    counts: Mapping[str, Any] = orjson.loads(report.read_bytes())["counts"]
    return counts


def _caught(pid: int) -> set[int]:
    """Returns the signals for which the process has a handler."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    [mask] = [int(line.split()[1], 16) for line in lines if line.startswith("SigCgt:")]
    return {number for number in range(1, 65) if mask >> (number - 1) & 1}
