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


class FairPlaces:
    """`total` places, for flows of work: those of projects, or of a project's small and large files.

    A flow that holds a place gets another one only if more than `reserve` places are free.
    """

    def __init__(self, total: int, *, reserve: int = 0) -> None:
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
        return self._total - self._held.total()

    def count(self, flow: str) -> int:
        """Returns the number of places that the flow holds."""
        return self._held[flow]

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
        if not self._can_have(flow):
            return False
        self._give(flow)
        return True

    def release(self, flow: str) -> None:
        """Frees a place of the flow, and assigns it to a flow that waits."""
        self._held[flow] -= 1
        self._assign()
        self._forget(flow)

    def _can_have(self, flow: str) -> bool:
        return self.free > (self._reserve if self._held[flow] else 0)

    def _assign(self) -> None:
        while flows := [flow for flow in self._waiting if self._can_have(flow)]:
            flow = min(flows, key=lambda each: (self._held[each], self._turns.get(each, 0)))
            place = self._waiting[flow][0]
            self._stop_waiting(flow, place)
            if not place.done():
                self._give(flow)
                place.set_result(None)

    def _give(self, flow: str) -> None:
        self._turn += 1
        self._held[flow] += 1
        self._turns[flow] = self._turn

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
