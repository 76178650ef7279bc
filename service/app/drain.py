"""The first parts of an orderly end: a process leaves new work to others, and hands its runs over while it stops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import structlog

from service.http.lifespan import HttpServer
from service.runs.supervisor import Supervisor

log = structlog.get_logger()

# Seconds after the begin of a stop at which the connections to the database are closed, whatever they wait for.
BREAK_OFF_S = 3.5
# Seconds between two looks for runs and connections of a process that retires.
RETIRE_POLL_S = 0.05


async def retire(http: HttpServer, supervisor: Supervisor, patience_s: float) -> None:
    """Leaves new requests and runs to other processes, and waits until the runs and requests here have ended.

    Waits at most `patience_s` seconds. The stop that follows hands over what is left.
    """
    supervisor.retire()
    await http.retire()
    deadline = asyncio.get_running_loop().time() + patience_s
    while supervisor.active or http.has_connections:
        if asyncio.get_running_loop().time() >= deadline:
            return
        await asyncio.sleep(RETIRE_POLL_S)


class Drain:
    """Releases the runs by `release_runs`, and calls `break_off` if the stop takes longer than BREAK_OFF_S."""

    def __init__(
        self,
        tasks: asyncio.TaskGroup,
        release_runs: Callable[[], Coroutine[Any, Any, None]],
        break_off: Callable[[], None],
    ) -> None:
        self._tasks = tasks
        self._release_runs = release_runs
        self._break_off = break_off
        self._release: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Begins the stop. It goes on in the background."""
        self._release = self._tasks.create_task(self._release_all())
        asyncio.get_running_loop().call_later(BREAK_OFF_S, self._break_off)

    async def wait(self) -> None:
        """Waits until the runs are released, or their release has failed."""
        if self._release is not None:
            await asyncio.wait({self._release})

    async def _release_all(self) -> None:
        try:
            await self._release_runs()
        except Exception:
            log.exception("runs_not_released")


@asynccontextmanager
async def open_drain(
    release_runs: Callable[[], Coroutine[Any, Any, None]], break_off: Callable[[], None]
) -> AsyncIterator[Drain]:
    """Yields a drain. The context ends when the drain that has begun is complete, also if its body is cancelled."""
    async with asyncio.TaskGroup() as tasks:
        drain = Drain(tasks, release_runs, break_off)
        try:
            yield drain
        finally:
            await drain.wait()
