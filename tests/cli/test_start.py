"""The last step of the start, in a process of its own."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import weakref
from collections.abc import Iterator

import pytest

from service.cli import garbage
from service.cli.garbage import GC_THRESHOLD, MIDDLE_THRESHOLD

_PROGRAM = """
import gc
gc.disable()
import service.app.server
from service.cli.garbage import exempt_started_objects
exempt_started_objects()
assert gc.isenabled()
print(gc.get_freeze_count(), len(gc.get_objects()), *gc.get_threshold()[:2])
"""
_BUILT = """
import service.app.server
from events.envelope import Event
from service.wire.fields import NestedObject, RequestBody

def classes(base):
    for each in base.__subclasses__():
        yield each
        yield from classes(each)

for base in (Event, NestedObject, RequestBody):
    models = list(classes(base))
    assert len(models) > 20, base
    print(*(each.__name__ for each in models if each.__pydantic_complete__))
"""


def test_no_collection_of_garbage_visits_the_modules_of_the_server() -> None:
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True)
    exempt, visited, *thresholds = map(int, done.stdout.split())
    assert exempt > 50_000
    assert visited < 1_000
    assert thresholds == [GC_THRESHOLD, MIDDLE_THRESHOLD]


class Cycle:
    """An object that refers to itself."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def no_full_collections() -> Iterator[None]:
    """Keeps full collections from beginning by themselves."""
    before = gc.get_threshold()
    gc.set_threshold(before[0], before[1], 2**31 - 1)
    yield
    gc.set_threshold(*before)


def old_garbage(collections: int) -> weakref.ref[Cycle]:
    """Creates garbage that only a full collection finds, before so many collections of the middle generation."""
    gc.collect()
    cycle = Cycle()
    for _ in range(collections):
        gc.collect(1)
    return weakref.ref(cycle)


@pytest.mark.usefixtures("no_full_collections")
async def test_a_full_collection_waits_until_the_server_is_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(garbage, "CHECK_S", 0.0)
    monkeypatch.setattr(garbage, "IDLE_S", 0.0)
    monkeypatch.setattr(garbage, "IDLE_SHARE", -1.0)
    found = old_garbage(garbage.FULL_AFTER)
    collecting = asyncio.create_task(garbage.collect_while_idle())
    for _ in range(20):
        await asyncio.sleep(0)
    assert found() is not None
    monkeypatch.setattr(garbage, "IDLE_SHARE", 1e9)
    while found() is not None:
        await asyncio.sleep(0)
    collecting.cancel()


@pytest.mark.usefixtures("no_full_collections")
async def test_a_server_that_is_never_idle_collects_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(garbage, "CHECK_S", 0.0)
    monkeypatch.setattr(garbage, "IDLE_SHARE", -1.0)
    found = old_garbage(garbage.FULL_AT_MOST)
    collecting = asyncio.create_task(garbage.collect_while_idle())
    while found() is not None:
        await asyncio.sleep(0)
    collecting.cancel()


def test_a_start_builds_the_validators_only_of_classes_with_a_constant() -> None:
    done = subprocess.run([sys.executable, "-c", _BUILT], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == {"Usage", "Compound"}
