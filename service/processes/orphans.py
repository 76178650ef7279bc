"""Work that names a process which is not alive any more, and so may be claimed by another.

Work is held by a process if its row or its last event names the number of that process. A process dies without
releasing what it held; `Peers` finds out within 200 ms that it is dead. A scan works on the result of the last such
check, so it may take a process for dead that has started since. Every function here checks again before it calls work
an orphan.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from typing import Generic, Protocol, TypeVar

from sql.connection import Connection


class LiveProcesses(Protocol):
    """The processes that are alive; `Peers` implements it."""

    process: int
    live: frozenset[int]

    async def refresh(self, db: Connection) -> frozenset[int]:
        """Returns the numbers of the processes that are alive now."""


class Holdable(Protocol):
    """Work that a process can hold."""

    @property
    def process(self) -> int | None:
        """The number of the process that holds it; None if none does."""


H = TypeVar("H", bound=Holdable)
K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


async def find_orphans(
    db: Connection,
    processes: LiveProcesses,
    find: Callable[[Sequence[int]], Awaitable[Sequence[H]]],
    *,
    include_own: bool = False,
) -> list[H]:
    """Returns the work that no living process holds.

    `find` gets the numbers of living processes and returns the work that none of them holds. With `include_own` this
    process is not among the numbers: `find` must then leave out what is at work here.

    If the work names a process that seems dead, the living processes are read again: a process takes its lock before
    it holds anything, so one that started since the last check is found now.
    """
    own = {processes.process} if include_own else set()
    found = await find(sorted(processes.live - own))
    if all(item.process in (None, processes.process) for item in found):
        return list(found)
    live = await processes.refresh(db) - own
    return [item for item in found if item.process not in live]


async def is_orphan(db: Connection, processes: LiveProcesses, process: int | None) -> bool:
    """Returns whether work that names this process is held by no living process."""
    if process is None:
        return True
    return process not in processes.live and process not in await processes.refresh(db)


class SecondSighting(Generic[K, T]):
    """Confirms findings that two consecutive scans have in common.

    For work that the log gives to this process and that is not at work here. A single scan may find it between the
    commit of its claim and its start; if the next scan finds it too, the answer to the append was lost.
    """

    def __init__(self) -> None:
        self._seen: frozenset[K] = frozenset()

    def confirm(self, found: Mapping[K, T]) -> list[T]:
        """Returns those of the findings, by key, that the scan before has found as well."""
        confirmed = [item for key, item in found.items() if key in self._seen]
        self._seen = frozenset(found)
        return confirmed
