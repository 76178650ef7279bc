"""Places that projects share."""

from __future__ import annotations

import asyncio

import pytest

from service.fair_places import FairPlaces


async def _settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_project_with_one_caller_does_not_wait_behind_one_with_many() -> None:
    places = FairPlaces(1)
    turns: list[str] = []

    async def work(flow: str) -> None:
        async with places.hold(flow):
            turns.append(flow)
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as tasks:
        for flow in [*("a" * 18), "b", "c", "b"]:
            tasks.create_task(work(flow))
    assert turns[:6] == ["a", "b", "c", "a", "b", "a"]
    assert places.free == 1


async def test_the_last_places_are_for_projects_that_hold_none() -> None:
    places = FairPlaces(4, reserve=1)
    waiting = [asyncio.create_task(places.take("a")) for _ in range(18)]
    await _settle()
    assert (places.count("a"), places.free) == (3, 1)
    await asyncio.wait_for(places.take("b"), 1)
    assert not places.try_take("c")
    places.release("b")
    assert places.try_take("c")
    assert not places.try_take("c")
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)
    places.release("c")
    assert (places.count("a"), places.free) == (3, 1)


async def test_a_caller_that_stops_waiting_loses_no_place() -> None:
    places = FairPlaces(1)
    await places.take("a")
    impatient, patient = asyncio.create_task(places.take("b")), asyncio.create_task(places.take("c"))
    await _settle()
    places.release("a")
    impatient.cancel()  # it has got the place in this moment
    await asyncio.wait({impatient})
    await asyncio.wait_for(patient, 1)
    places.release("c")
    assert places.free == 1
    assert not places._turns, "nothing is kept about projects that do nothing"


async def test_a_place_may_come_free_between_a_cancellation_and_its_handling() -> None:
    places = FairPlaces(1)
    await places.take("a")
    waiting = asyncio.create_task(places.take("b"))
    await _settle()
    waiting.cancel()
    places.release("a")
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert places.free == 1
    await places.take("b")
