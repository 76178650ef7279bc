"""An event loop without sockets, on virtual time, for several machines at once.

A machine is a simulated process, the database, or the outside world. Its callbacks run in the order in which asyncio
scheduled them, as on a loop of its own. A seeded random source chooses which machine goes on, and time jumps to the
next timer if none has anything to do. So one seed gives one history.

A callback belongs to the machine that its context names. Machines can be slow, freeze and die.
"""

from __future__ import annotations

import asyncio
import heapq
import os
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from random import Random
from typing import Any

# Callbacks that a machine runs before another one may go on.
BURST = 20


class Stuck(Exception):
    """No machine has anything to do, and none ever will."""


class Livelock(Exception):
    """More callbacks ran, or more time passed, than the limits of a simulation allow."""


class Machine:
    """The callbacks of one simulated process, in order. `pause_s` is the time that each of its callbacks takes."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.ready: deque[VirtualHandle] = deque()
        self.is_alive = True
        self.pause_s = 0.0
        # It runs nothing before this time.
        self.free_at = 0.0
        # Its tasks, so that the garbage collector ends none of a machine that has died.
        self.tasks: list[asyncio.Task[Any]] = []

    def context(self) -> Context:
        """Returns a new context of this machine."""
        context = copy_context()
        context.run(_machine.set, self)
        return context


_machine: ContextVar[Machine] = ContextVar("machine")


def current_machine() -> Machine:
    """Returns the machine whose callback runs."""
    return _machine.get()


class VirtualHandle:
    """A callback that waits for its turn, or as a timer for its time: what asyncio's handles are, at less cost."""

    __slots__ = ("_args", "_callback", "_when", "context", "is_cancelled", "machine")

    def __init__(
        self, callback: Callable[..., Any], args: tuple[Any, ...], machine: Machine, context: Context, when: float
    ) -> None:
        self.machine = machine
        self.context = context
        self.is_cancelled = False
        self._callback = callback
        self._args = args
        self._when = when

    def cancel(self) -> None:
        self.is_cancelled = True

    def cancelled(self) -> bool:
        return self.is_cancelled

    def when(self) -> float:
        return self._when

    def run(self, loop: VirtualLoop) -> None:
        try:
            self.context.run(self._callback, *self._args)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001 - as asyncio does
            loop.call_exception_handler({"message": "a callback failed", "exception": error, "handle": self})


class _NumberedTask(asyncio.Task[Any]):
    """A task with a hash that does not depend on its address, so that sets of tasks have the same order each time."""

    number = 0

    def __hash__(self) -> int:
        return self.number


class VirtualLoop(asyncio.BaseEventLoop):
    """The loop. `trace` is called with each machine that gets its turn, if it is set."""

    def __init__(self, random: Random, *, max_time_s: float, max_callbacks: int) -> None:
        super().__init__()
        self.outside = Machine("outside")
        self.callbacks = 0
        self.machines: list[Machine] = [self.outside]
        self._random = random
        self._now = 0.0
        self._timers: list[tuple[float, int, VirtualHandle]] = []
        self._count = 0
        self._max_time_s = max_time_s
        self._max_callbacks = max_callbacks
        self.set_task_factory(self._create_numbered_task)  # type: ignore[arg-type]

    def add_machine(self, name: str) -> Machine:
        """Returns a new machine."""
        machine = Machine(name)
        self.machines.append(machine)
        return machine

    def kill(self, machine: Machine) -> None:
        """Ends a machine: none of its callbacks runs any more, not even those that clean up."""
        machine.is_alive = False
        self.machines.remove(machine)

    def freeze(self, machine: Machine, seconds: float) -> None:
        """Lets a machine run nothing for that time. Its timers fall due meanwhile."""
        machine.free_at = max(machine.free_at, self._now + seconds)

    # asyncio's interface.

    def time(self) -> float:
        return self._now

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> VirtualHandle:
        handle = self._handle(callback, args, context, self._now)
        handle.machine.ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> VirtualHandle:
        timer = self._handle(callback, args, context, when)
        self._count += 1
        heapq.heappush(self._timers, (when, self._count, timer))
        return timer

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> VirtualHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        """Runs the function at the next turn of the machine: there are no threads."""
        future = self.create_future()

        def run() -> None:
            if not future.cancelled():
                try:
                    future.set_result(func(*args))
                except Exception as error:  # noqa: BLE001 - the future's reader gets it
                    future.set_exception(error)

        self.call_soon(run)
        return future

    def _create_numbered_task(self, loop: Any, coro: Coroutine[Any, Any, Any], **kwargs: Any) -> asyncio.Task[Any]:
        task = _NumberedTask.__new__(_NumberedTask)
        self._count += 1
        task.number = self._count
        task.__init__(coro, loop=self, **kwargs)  # type: ignore[misc]
        context: Context | None = kwargs.get("context")
        machine = _machine.get(self.outside) if context is None else context.get(_machine, self.outside)
        machine.tasks.append(task)
        return task

    def _handle(
        self, callback: Callable[..., Any], args: tuple[Any, ...], context: Context | None, when: float
    ) -> VirtualHandle:
        context = copy_context() if context is None else context
        return VirtualHandle(callback, args, context.get(_machine, self.outside), context, when)

    def _run_once(self) -> None:
        """Gives machines their turns, and lets time pass, until the loop is stopped."""
        while not self._stopping:  # type: ignore[attr-defined]
            ready = [machine for machine in self.machines if machine.ready and machine.free_at <= self._now]
            if not ready:
                self._advance()
                continue
            self._run_machine(ready[0] if len(ready) == 1 else self._random.choice(ready))
            if self.callbacks > self._max_callbacks:
                raise Livelock(f"{self.callbacks} callbacks in {self._now:.3f} s")

    def _run_machine(self, machine: Machine) -> None:
        queue = machine.ready
        for _ in range(BURST):
            if not queue or not machine.is_alive or machine.free_at > self._now:
                return
            handle = queue.popleft()
            if handle.is_cancelled:
                continue
            self.callbacks += 1
            handle.run(self)
            if machine.pause_s:
                machine.free_at = max(machine.free_at, self._now + machine.pause_s)

    def _advance(self) -> None:
        """Moves the time to the next timer that counts, or to the end of a machine's pause."""
        timers = self._timers
        while timers and (timers[0][2].is_cancelled or not timers[0][2].machine.is_alive):
            heapq.heappop(timers)
        ends = [machine.free_at for machine in self.machines if machine.ready]
        if timers:
            ends.append(timers[0][0])
        if not ends:
            raise Stuck(f"at {self._now:.3f} s")
        self._now = max(self._now, min(ends))
        if self._now > self._max_time_s:
            raise Livelock(f"{self._now:.0f} s have passed")
        while timers and timers[0][0] <= self._now:
            timer = heapq.heappop(timers)[2]
            if not timer.is_cancelled:
                timer.machine.ready.append(timer)

    def _process_events(self, event_list: Any) -> None:
        """There are no events but callbacks and timers."""

    def _write_to_self(self) -> None:
        """There is no selector to wake."""


def discard(loop: VirtualLoop) -> None:
    """Ends the loop with all that is pending on it, without running any of it."""
    for machine in loop.machines:
        machine.is_alive = False
    loop.close()


# The order of sets of texts must be the same each time, too.
HASH_SEED_IS_FIXED = os.environ.get("PYTHONHASHSEED") == "0"
