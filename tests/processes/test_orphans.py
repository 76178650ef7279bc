"""Orphans: work is claimed from dead processes and never from living ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from service.processes.orphans import SecondSighting, find_orphans, is_orphan

OURS = 1
DB: Any = None


@dataclass(frozen=True)
class Item:
    name: str
    process: int | None


class Processes:
    """`live` were alive at the last check, `now` are alive at present."""

    def __init__(self, live: set[int], now: set[int]) -> None:
        self.process = OURS
        self.live = frozenset(live)
        self._now = frozenset(now)
        self.refreshes = 0

    async def refresh(self, db: object) -> frozenset[int]:
        self.refreshes += 1
        return self._now


class Table:
    """The work that there is."""

    def __init__(self, **holders: int | None) -> None:
        self.items = [Item(name, process) for name, process in holders.items()]

    async def find(self, live: Sequence[int]) -> Sequence[Item]:
        return [item for item in self.items if item.process not in live]


async def orphans(table: Table, processes: Processes, *, include_own: bool = False) -> list[str]:
    return [item.name for item in await find_orphans(DB, processes, table.find, include_own=include_own)]


async def test_work_of_dead_processes_and_of_none_is_found() -> None:
    table = Table(free=None, ours=OURS, living=2, dead=3)
    assert await orphans(table, Processes({OURS, 2}, {OURS, 2})) == ["free", "dead"]


async def test_a_process_that_started_since_the_last_check_keeps_its_work() -> None:
    table = Table(new=2, dead=3)
    assert await orphans(table, Processes({OURS}, {OURS, 2})) == ["dead"]


async def test_the_check_is_repeated_only_if_work_names_a_process_that_seems_dead() -> None:
    processes = Processes({OURS, 2}, {OURS, 2})
    assert await orphans(Table(free=None, living=2), processes) == ["free"]
    assert await orphans(Table(ours=OURS), processes, include_own=True) == ["ours"]
    assert processes.refreshes == 0
    await orphans(Table(dead=3), processes)
    assert processes.refreshes == 1


@pytest.mark.parametrize("now", [{OURS}, {OURS, 3}])
async def test_own_work_is_found_if_asked_for(now: set[int]) -> None:
    found = await orphans(Table(ours=OURS, other=3), Processes({OURS}, now), include_own=True)
    assert found == ["ours"] if 3 in now else ["ours", "other"]


@pytest.mark.parametrize(
    ("process", "expected", "refreshes"), [(None, True, 0), (2, False, 0), (3, False, 1), (4, True, 1)]
)
async def test_one_piece_of_work(process: int | None, expected: bool, refreshes: int) -> None:
    processes = Processes({OURS, 2}, {OURS, 2, 3})
    assert await is_orphan(DB, processes, process) is expected
    assert processes.refreshes == refreshes


def test_only_what_two_scans_in_a_row_find_is_confirmed() -> None:
    sighting: SecondSighting[str, int] = SecondSighting()
    assert sighting.confirm({"a": 1, "b": 2}) == []
    assert sighting.confirm({"b": 3, "c": 4}) == [3]
    assert sighting.confirm({}) == []
    assert sighting.confirm({"b": 5}) == []
    assert sighting.confirm({"b": 6}) == [6]
