"""Runs sequencers one statement at a time, in an order that the test chooses, and crashes them between two."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from enum import Enum
from typing import Any

from sql.connection import Connection


class Crash(Exception):
    """Ends a coroutine like the death of its process: before a statement, or after it but without its answer."""


class Step(Enum):
    """The fate of the next statement."""

    RUN = "run"
    CRASH_BEFORE = "crash before"
    CRASH_AFTER = "crash after"


class SteppedConnection:
    """A connection whose statements wait for `Lockstep.advance`."""

    def __init__(self, db: Connection, turn: Callable[[], Awaitable[Step]]) -> None:
        self._db = db
        self._turn = turn

    async def fetch(self, *args: Any) -> Any:
        return await self._step(self._db.fetch, *args)

    async def fetchrow(self, *args: Any) -> Any:
        return await self._step(self._db.fetchrow, *args)

    async def fetchval(self, *args: Any) -> Any:
        return await self._step(self._db.fetchval, *args)

    async def execute(self, *args: Any) -> Any:
        return await self._step(self._db.execute, *args)

    async def _step(self, call: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        step = await self._turn()
        if step is Step.CRASH_BEFORE:
            raise Crash
        result = await call(*args)
        if step is Step.CRASH_AFTER:
            raise Crash
        return result


class Lockstep:
    """A coroutine that stops in front of each of its statements."""

    def __init__(self, db: Connection, work: Callable[[Any], Coroutine[Any, Any, object]]) -> None:
        self._step: asyncio.Future[Step] | None = None
        self._arrival = asyncio.Event()
        self._task = asyncio.create_task(self._run(work(SteppedConnection(db, self._turn))))

    async def advance(self, step: Step = Step.RUN) -> bool:
        """Carries out the next statement. Returns whether another one follows it. Raises the errors of the work."""
        await self._arrival.wait()
        if self._step is not None:
            self._arrival.clear()
            self._step.set_result(step)
            await self._arrival.wait()
        if self._task.done():
            await self._task
        return not self._task.done()

    async def finish(self) -> None:
        """Carries out all statements."""
        while await self.advance():
            pass

    async def _run(self, work: Coroutine[Any, Any, object]) -> None:
        try:
            await work
        except Crash:
            pass
        finally:
            self._step = None
            asyncio.get_running_loop().call_soon(self._arrival.set)

    async def _turn(self) -> Step:
        self._step = asyncio.get_running_loop().create_future()
        self._arrival.set()
        return await self._step
