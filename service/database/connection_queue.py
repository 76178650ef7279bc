"""The order in which callers get the connections of a pool, and how long they wait."""

from __future__ import annotations

import asyncio
from collections import deque
from contextvars import ContextVar
from dataclasses import dataclass

from service.database.errors import DatabaseBusy

# Seconds that a caller waits for a connection while none is returned to the pool, that is while the database hangs.
ACQUIRE_TIMEOUT = 5.0
# Seconds that a caller waits at most while the database works.
LONGEST_WAIT = 60.0
# Requests that wait for a connection at the same time; further ones are refused at once.
MAX_WAITING = 2_000
# While both wait, background work gets the next connection after so many requests.
REQUESTS_IN_A_ROW = 4

_is_request: ContextVar[bool] = ContextVar("is_request", default=False)


def mark_request() -> None:
    """Gives the calling task, and tasks that it creates, the connections of the pool before background work."""
    _is_request.set(True)


def mark_background_work() -> None:
    """Takes back `mark_request`, in a task that a request created but that does not end with it."""
    _is_request.set(False)


@dataclass(eq=False, slots=True)
class _Caller:
    """A caller that waits since `began`, a time of the loop's clock."""

    turn: asyncio.Future[None]
    began: float


class ConnectionQueue:
    """The callers that wait for one of `size` connections: requests first, each kind in order of arrival.

    One timer watches all of them: in each kind, the caller that came first is also the first whose time is up.
    """

    def __init__(self, size: int) -> None:
        self._free = size
        self._requests: deque[_Caller] = deque()
        self._others: deque[_Caller] = deque()
        self._in_a_row = 0
        self._last_return = 0.0
        self._timer: asyncio.TimerHandle | None = None

    async def enter(self) -> None:
        """Waits for a connection. Call `leave` after its use.

        Raises DatabaseBusy if MAX_WAITING requests wait or if LONGEST_WAIT has passed, and TimeoutError if no
        connection was returned for ACQUIRE_TIMEOUT seconds.
        """
        if self._free:
            self._free -= 1
            return
        callers = self._requests if _is_request.get() else self._others
        if callers is self._requests and len(callers) >= MAX_WAITING:
            raise DatabaseBusy(f"{len(callers)} requests wait for the database")
        loop = asyncio.get_running_loop()
        caller = _Caller(loop.create_future(), loop.time())
        callers.append(caller)
        if self._timer is None:
            self._start_timer(loop)
        try:
            await caller.turn
        except asyncio.CancelledError:
            if caller in callers:
                callers.remove(caller)
            elif not caller.turn.cancelled() and caller.turn.exception() is None:
                self.leave(has_succeeded=False)
            raise

    def leave(self, *, has_succeeded: bool) -> None:
        """Passes the connection to the next caller. `has_succeeded` if the database answered its last user."""
        if has_succeeded:
            self._last_return = asyncio.get_running_loop().time()
        while self._requests or self._others:
            is_turn_of_others = bool(self._others) and (not self._requests or self._in_a_row >= REQUESTS_IN_A_ROW)
            caller = (self._others if is_turn_of_others else self._requests).popleft()
            if not caller.turn.done():  # else the caller was cancelled
                self._in_a_row = 0 if is_turn_of_others else self._in_a_row + 1
                caller.turn.set_result(None)
                return
        self._free += 1

    def _start_timer(self, loop: asyncio.AbstractEventLoop) -> None:
        first = min(self._deadline(callers[0]) for callers in (self._requests, self._others) if callers)
        self._timer = loop.call_at(first, self._expire, loop)

    def _deadline(self, caller: _Caller) -> float:
        return min(max(caller.began, self._last_return) + ACQUIRE_TIMEOUT, caller.began + LONGEST_WAIT)

    def _expire(self, loop: asyncio.AbstractEventLoop) -> None:
        """Ends the waits whose time is up."""
        self._timer, now = None, loop.time()
        for callers in (self._requests, self._others):
            while callers and self._deadline(callers[0]) <= now:
                caller = callers.popleft()
                if not caller.turn.done():
                    caller.turn.set_exception(_wait_error(now - caller.began))
        if self._requests or self._others:
            self._start_timer(loop)


def _wait_error(waited: float) -> TimeoutError:
    if waited >= LONGEST_WAIT:
        return DatabaseBusy(f"the database was busy with others for {waited:.0f} s")
    return TimeoutError(f"no connection to the database for {waited:.0f} s")
