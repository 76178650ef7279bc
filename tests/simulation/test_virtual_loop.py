"""The loop of simulations: virtual time, the order of callbacks, and machines that freeze, are slow, and die."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any

import pytest

from tests.simulation.virtual_loop import Livelock, Stuck, VirtualLoop, current_machine


def run(main: Callable[[VirtualLoop], Coroutine[Any, Any, Any]], seed: int = 0) -> Any:
    loop = VirtualLoop(Random(seed), max_time_s=1000, max_callbacks=10_000)
    try:
        return loop.run_until_complete(main(loop))
    finally:
        loop.close()


async def count(notes: list[str], name: str, times: int) -> None:
    for number in range(times):
        notes.append(f"{name}{number}")
        await asyncio.sleep(0)


def test_time_passes_at_once() -> None:
    async def main(loop: VirtualLoop) -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await asyncio.sleep(900)
        await asyncio.to_thread(lambda: None)
        return loop.time()

    assert run(main) == 5


def test_machines_take_turns_as_the_seed_says() -> None:
    async def main(loop: VirtualLoop) -> list[str]:
        notes: list[str] = []
        machines = [loop.add_machine(name) for name in "ab"]
        tasks = [loop.create_task(count(notes, one.name, 60), context=one.context()) for one in machines]
        await asyncio.gather(*tasks)
        return notes

    histories = [run(main, seed) for seed in (1, 1, 2, 3, 4)]
    assert histories[0] == histories[1]
    assert len({tuple(notes) for notes in histories}) > 1
    for notes in histories:
        for name in "ab":
            assert [note for note in notes if note[0] == name] == [f"{name}{number}" for number in range(60)]


def test_a_frozen_machine_runs_nothing_and_then_goes_on() -> None:
    async def main(loop: VirtualLoop) -> tuple[float, float]:
        frozen, other = loop.add_machine("frozen"), loop.add_machine("other")

        async def wait() -> float:
            await asyncio.sleep(1)
            return loop.time()

        loop.freeze(frozen, 30)
        tasks = [loop.create_task(wait(), context=machine.context()) for machine in (frozen, other)]
        return await tasks[0], await tasks[1]

    assert run(main) == (31, 1)


def test_a_dead_machine_does_not_even_clean_up() -> None:
    async def main(loop: VirtualLoop) -> list[str]:
        notes: list[str] = []
        machine = loop.add_machine("dead")

        async def work() -> None:
            try:
                notes.append(current_machine().name)
                await asyncio.sleep(10)
            finally:
                notes.append("cleaned up")

        loop.create_task(work(), context=machine.context())
        await asyncio.sleep(1)
        loop.kill(machine)
        await asyncio.sleep(20)
        return notes

    assert run(main) == ["dead"]


def test_callbacks_of_a_slow_machine_take_time() -> None:
    async def main(loop: VirtualLoop) -> float:
        machine = loop.add_machine("slow")
        machine.pause_s = 2.0
        await loop.create_task(count([], "", 4), context=machine.context())
        return loop.time()

    assert run(main) == 8


def test_what_never_ends_is_an_error() -> None:
    async def wait(loop: VirtualLoop) -> None:
        await loop.create_future()

    async def spin(loop: VirtualLoop) -> None:
        while True:
            await asyncio.sleep(0)

    async def sleep(loop: VirtualLoop) -> None:
        while True:
            await asyncio.sleep(400)

    for main, error in ((wait, Stuck), (spin, Livelock), (sleep, Livelock)):
        with pytest.raises(error):
            run(main)
