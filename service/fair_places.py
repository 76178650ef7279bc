"""Places for work that only so much of may be done at once, shared fairly between projects.

A free place goes to the waiting project that holds the fewest places; of those that hold equally many, to the one whose
last turn is the longest ago. Work that has a place keeps it to its end, so a number of places is reserved for projects
that hold none: other projects never take the last `reserve` places.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

# Seconds between two looks for places that other processes have freed.
POLL_S = 0.05


class PlaceTable(Protocol):
    """Places that several processes share, as `FairPlaces` uses them."""

    def free(self) -> int: ...

    def count(self, flow: str) -> int: ...

    def try_take(self, flow: str, reserve: int) -> bool: ...

    def release(self, flow: str) -> None: ...

    def want(self) -> None: ...

    def is_wanted(self) -> bool: ...


class FairPlaces:
    """`total` places, for flows of work: those of projects, or of a project's small and large files.

    A flow that holds a place gets another one only if more than `reserve` places are free. If other processes share the
    places, `shared` counts them all.
    """

    def __init__(self, total: int, *, reserve: int = 0, shared: PlaceTable | None = None) -> None:
        self._shared = shared
        self._poll: asyncio.TimerHandle | None = None
        self._total = total
        self._reserve = reserve
        self._held: Counter[str] = Counter()
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        # The turns of flows that hold or want places. A flow that is new has its turn first.
        self._turns: dict[str, int] = {}
        self._turn = 0

    @property
    def free(self) -> int:
        """The number of free places."""
        return self._total - self._held.total() if self._shared is None else self._shared.free()

    @property
    def is_wanted_elsewhere(self) -> bool:
        """Whether another process has been waiting for a place in this moment."""
        return self._shared is not None and not self._waiting and self._shared.is_wanted()

    def count(self, flow: str) -> int:
        """Returns the number of places that the flow holds."""
        return self._held[flow] if self._shared is None else self._shared.count(flow)

    @asynccontextmanager
    async def hold(self, flow: str) -> AsyncIterator[None]:
        """Waits for a place of the flow, and holds it within the context."""
        await self.take(flow)
        try:
            yield
        finally:
            self.release(flow)

    async def take(self, flow: str) -> None:
        """Waits for a place of the flow and takes it. The caller must release it."""
        place = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(flow, deque()).append(place)
        self._assign()
        try:
            await place
        except asyncio.CancelledError:
            if not place.cancelled():
                self.release(flow)
            elif place in self._waiting.get(flow, ()):  # else a release has removed it since the cancellation
                self._stop_waiting(flow, place)
            raise

    def try_take(self, flow: str) -> bool:
        """Takes a place if the flow can have one at once. Returns whether it did."""
        return self._can_have(flow) and self._give(flow)

    def release(self, flow: str) -> None:
        """Frees a place of the flow, and assigns it to a flow that waits."""
        self._held[flow] -= 1
        if self._shared is not None:
            self._shared.release(flow)
        self._assign()
        self._forget(flow)

    def _can_have(self, flow: str) -> bool:
        return self.free > (self._reserve if self.count(flow) else 0)

    def _assign(self) -> None:
        while flows := [flow for flow in self._waiting if self._can_have(flow)]:
            flow = min(flows, key=lambda each: (self.count(each), self._turns.get(each, 0)))
            place = self._waiting[flow][0]
            if place.done():
                self._stop_waiting(flow, place)
            elif self._give(flow):
                self._stop_waiting(flow, place)
                place.set_result(None)
            else:  # another process has taken the place
                break
        if self._shared is not None and self._waiting and self._poll is None:
            self._shared.want()
            self._poll = asyncio.get_running_loop().call_later(POLL_S, self._look_again)

    def _look_again(self) -> None:
        self._poll = None
        self._assign()

    def _give(self, flow: str) -> bool:
        if self._shared is not None and not self._shared.try_take(flow, self._reserve):
            return False
        self._turn += 1
        self._held[flow] += 1
        self._turns[flow] = self._turn
        return True

    def _stop_waiting(self, flow: str, place: asyncio.Future[None]) -> None:
        queue = self._waiting[flow]
        queue.remove(place)
        if not queue:
            del self._waiting[flow]
        self._forget(flow)

    def _forget(self, flow: str) -> None:
        """Forgets a flow that neither holds nor wants a place."""
        if not self._held[flow]:
            del self._held[flow]
            if flow not in self._waiting:
                self._turns.pop(flow, None)


class OpenPlaces(Protocol):
    """Returns the places of a pool with this name, which processes of one server share."""

    def __call__(self, name: str, total: int, *, reserve: int = 0) -> FairPlaces: ...


def open_own_places(name: str, total: int, *, reserve: int = 0) -> FairPlaces:
    """Returns places that no other process shares."""
    return FairPlaces(total, reserve=reserve)
