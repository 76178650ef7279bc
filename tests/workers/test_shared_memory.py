"""Memory that processes share: places, limits and locks, also if one of the processes dies."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from projections.keys import ApiKey
from service.access.keys import digest_of
from service.access.rate_limits import RateLimitExceeded, RateLimits
from service.access.wrong_keys import MAX_WRONG_KEYS, WrongKeyLimit
from service.database import Pool
from service.fair_places import FairPlaces
from service.workers.shared_buckets import SharedBuckets
from service.workers.shared_memory import (
    TABLE_ENTRIES,
    VALUE_SIZE,
    SharedMemory,
    SharedPlaces,
    SharedTable,
    create_memory,
    digest,
)

OTHER_PROCESS = """
import os, sys
from service.workers.shared_memory import SharedMemory, SharedPlaces
places = SharedPlaces(SharedMemory(int(sys.argv[1])), "files", 3)
assert places.try_take("theirs", 1), places.free()
print(os.getpid(), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def descriptor() -> Iterator[int]:
    made = create_memory()
    yield made
    os.close(made)


@pytest.fixture
def memory(descriptor: int) -> SharedMemory:
    return SharedMemory(descriptor)


async def test_places_of_a_process_that_ends_are_free_again(descriptor: int, memory: SharedMemory) -> None:
    """Two places are left to a flow that holds none, and one to a flow that holds some."""
    places = FairPlaces(3, reserve=1, shared=SharedPlaces(memory, "files", 3))
    command = [sys.executable, "-c", OTHER_PROCESS, str(descriptor)]
    with subprocess.Popen(
        command, pass_fds=[descriptor], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        pid = int(other.stdout.readline())
        assert (places.free, places.count("theirs")) == (2, 1)
        assert places.try_take("ours")
        assert not places.try_take("ours"), "the last place is for another flow"
        waiting = asyncio.create_task(places.take("ours"))
        await asyncio.sleep(0)
        assert not waiting.done()
        other.kill()
        other.wait()
        memory.release_process(pid)
        await asyncio.wait_for(waiting, 10)
    places.release("ours")
    places.release("ours")
    assert places.free == 3


async def test_who_waits_for_a_place_is_seen_elsewhere(memory: SharedMemory) -> None:
    one, other = [FairPlaces(1, shared=SharedPlaces(memory, "sandbox sessions", 1)) for _ in range(2)]
    assert one.try_take("a")
    assert not _wanted(one)
    waiting = asyncio.create_task(other.take("a"))
    await asyncio.sleep(0)
    assert (_wanted(one), _wanted(other)) == (True, False)
    one.release("a")
    await asyncio.wait_for(waiting, 10)


def test_a_frozen_holder_of_the_lock_holds_nobody_up(descriptor: int, memory: SharedMemory) -> None:
    holder = (
        "import fcntl, sys; fcntl.lockf(int(sys.argv[1]), fcntl.LOCK_EX, 1, 0); print(flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", holder, str(descriptor)]
    with subprocess.Popen(command, pass_fds=[descriptor], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        assert SharedPlaces(memory, "files", 1).try_take("a", 0)
        other.kill()


def test_the_oldest_entry_of_a_full_table_gives_way(memory: SharedMemory) -> None:
    table = SharedTable(memory, 0)
    for number in range(TABLE_ENTRIES + 100):
        table.put(digest(f"key {number}"), number.to_bytes(VALUE_SIZE, "little"))
    newest = TABLE_ENTRIES + 99
    assert table.get(digest(f"key {newest}")) == newest.to_bytes(VALUE_SIZE, "little")
    table.delete(digest(f"key {newest}"))
    assert table.get(digest(f"key {newest}")) is None


def test_limits_hold_for_all_workers_together(pool: Pool, memory: SharedMemory) -> None:
    now = [100.0]
    workers = [RateLimits(pool, timer=lambda: now[0], shared=SharedBuckets(memory)) for _ in range(2)]
    limited = ApiKey("key_1", "proj_1", "full", digest_of("x"), requests_per_minute=4, tokens_per_minute=60)
    left = [workers[number % 2].admit(limited, spends=False)[0].remaining for number in range(4)]
    assert left == [3, 2, 1, 0]
    for worker in workers:
        with pytest.raises(RateLimitExceeded):
            worker.admit(limited, spends=False)
    now[0] += 60
    # The run was created by one worker, and another one makes the call.
    workers[0]._remember("run_1", "key_1")
    workers[1]._charge_run("run_1", 90)
    with pytest.raises(RateLimitExceeded) as refused:
        workers[0].admit(limited, spends=True)
    assert (refused.value.measure, refused.value.used) == ("tokens", 90)
    workers[0]._forget("run_1")
    workers[1]._charge_run("run_1", 90)
    now[0] += 31
    assert workers[1].admit(limited, spends=True)[1].remaining == 1


def test_wrong_keys_are_counted_by_all_workers_together(memory: SharedMemory) -> None:
    workers = [WrongKeyLimit(timer=lambda: 5.0, shared=SharedBuckets(memory)) for _ in range(2)]
    assert [workers[number % 2].count("192.0.2.1") for number in range(MAX_WRONG_KEYS)] == [None] * MAX_WRONG_KEYS
    assert all(worker.count("192.0.2.1") is not None for worker in workers)


async def test_a_named_lock_is_held_by_one_caller_at_a_time(descriptor: int, memory: SharedMemory) -> None:
    turns: list[int] = []

    async def work(number: int) -> None:
        async with memory.hold("key_1"):
            turns.append(number)
            await asyncio.sleep(0)
            turns.append(number)

    await asyncio.gather(*(work(number) for number in range(4)))
    assert turns == [0, 0, 1, 1, 2, 2, 3, 3]


def _wanted(places: FairPlaces) -> bool:
    return places.is_wanted_elsewhere
