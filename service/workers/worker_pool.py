"""The parent of the workers: starts them, replaces those that die or hang, and restarts them one by one.

A worker that sends no sign of life for HANGS_AFTER_BEATS checks in a row is killed. Postgres releases its lock then,
and its peers take over its runs; if it is frozen, they have noticed that already (`service.processes.heartbeats`).
Checks are counted, not seconds, so that workers are not killed because this process, or the whole machine, was paused.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import structlog

from service.errors import StartupError
from service.workers.channel import BEAT_EVERY_S, Message
from service.workers.counts import Counts, add_counts
from service.workers.worker_process import START_TIMEOUT_S, WORKER_MODULE, WorkerLost, WorkerProcess

log = structlog.get_logger()

# A worker hangs if so many checks, one every BEAT_EVERY_S seconds, find no new beat: 2 to 2.5 s.
HANGS_AFTER_BEATS = 5
# Seconds before a worker is started again after it died, doubled with each death soon after a start.
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 10.0
# Starts of a worker at the start of the server, if the ones before were killed or crashed.
FIRST_STARTS = 5
# Seconds after which a worker that stops is killed. It ends by itself before.
STOP_TIMEOUT_S = 5.5
# Seconds for the runs and streams of a worker that is being replaced in order, before they are handed over.
RETIRE_S = 30.0
# Seconds within which a worker answers for /metrics. Those that do not count with their last beat.
ANSWER_TIMEOUT_S = 1.0


@dataclass(slots=True)
class _Seat:
    """The place of a worker, which processes hold one after another.

    `change` is set when another process takes the seat, and when one that was started for it ends. `retirement` ends
    the process that held the seat before.
    """

    index: int
    process: WorkerProcess | None = None
    change: asyncio.Event = field(default_factory=asyncio.Event)
    retirement: asyncio.Task[None] | None = None


class WorkerPool:
    """`count` workers. `make_order` returns the order of a worker, given its index and whether it `is_first` there.

    They inherit `descriptors`. `on_end` is called with the process id of each worker that has ended. `database_wait_s`
    are the seconds that a start may wait for the database, `module` is the program of a worker.
    """

    def __init__(
        self,
        count: int,
        *,
        make_order: Callable[[int, bool], Mapping[str, Any]],
        descriptors: Sequence[int],
        on_end: Callable[[int], None],
        database_wait_s: float,
        module: str = WORKER_MODULE,
    ) -> None:
        self._seats = [_Seat(index) for index in range(count)]
        self._make_order = make_order
        self._descriptors = descriptors
        self._on_end = on_end
        self._start_timeout_s = START_TIMEOUT_S + database_wait_s
        self._module = module
        # In the order of their starts.
        self._processes: dict[WorkerProcess, None] = {}
        # The counters of workers that have ended.
        self._past_counts: Counts = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._restart = asyncio.Event()

    def restart(self) -> None:
        """Replaces all workers, one by one, in the background. Another call meanwhile replaces them once more."""
        self._restart.set()

    async def run(self, on_ready: Callable[[str, str | None], None]) -> None:
        """Keeps the workers running until cancelled, and stops them then.

        Calls `on_ready` with the base URL and the console's URL when all of them serve. Raises StartupError if one of
        the first cannot start.
        """
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            receivers = []
            try:
                # The first worker migrates the database, and makes what a new data directory needs.
                first, *others = self._seats
                base_url = await self._fill_first(first)
                await asyncio.gather(*(self._fill_first(seat) for seat in others))
                on_ready(base_url, None if first.process is None else first.process.console_url)
                receivers = [tasks.create_task(self._keep(seat)) for seat in self._seats]
                receivers += [tasks.create_task(self._watch()), tasks.create_task(self._restart_when_asked())]
                await asyncio.Event().wait()
            finally:
                for task in receivers:
                    task.cancel()
                await asyncio.gather(*(process.stop(STOP_TIMEOUT_S) for process in tuple(self._processes)))

    async def _fill_first(self, seat: _Seat) -> str:
        """Starts the first worker of the seat, as `_fill` does. One that is killed or crashes is started again.

        Raises StartupError if the worker gives a reason why it cannot start, or if FIRST_STARTS of them were lost.
        """
        pause = FIRST_PAUSE_S
        for _ in range(FIRST_STARTS - 1):
            try:
                return await self._fill(seat, is_first=True)
            except WorkerLost as error:
                log.error("worker_start_failed", worker=seat.index, error=str(error), again_in_s=pause)
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)
        return await self._fill(seat, is_first=True)

    async def _fill(self, seat: _Seat, *, is_first: bool = False) -> str:
        """Starts a worker in the seat, and returns the base URL when it serves. Raises StartupError.

        The process that was there goes on. The new one takes its place when it serves, and the old one retires then.
        Several calls for one seat may be at work: a start may hang while the worker that it replaces dies.
        """
        assert self._tasks is not None
        order = self._make_order(seat.index, is_first)
        process = await WorkerProcess.start(seat.index, order, self._descriptors, module=self._module)
        self._processes[process] = None
        self._tasks.create_task(self._receive(process, seat))
        try:
            base_url = await process.wait_until_ready(self._start_timeout_s)
            if process.has_ended:
                raise WorkerLost(f"A worker ended as soon as it was ready: {process.describe_end()}")
        except BaseException:
            process.signal(signal.SIGKILL)
            raise
        old, seat.process = seat.process, process
        seat.change.set()
        if old is not None and not old.has_ended:
            old.is_retired = True
            seat.retirement = self._tasks.create_task(self._retire(old))
        self._announce()
        return base_url

    async def _receive(self, process: WorkerProcess, seat: _Seat) -> None:
        try:
            await process.run(self._on_message)
        finally:
            del self._processes[process]
            self._past_counts = add_counts(self._past_counts, process.counts)
            self._on_end(process.pid)
            seat.change.set()
            self._announce()

    async def _keep(self, seat: _Seat) -> None:
        """Starts a new worker in the seat whenever the one there has died."""
        pause, since = FIRST_PAUSE_S, monotonic()
        while True:
            await seat.change.wait()
            seat.change.clear()
            process = seat.process
            if process is None or not process.has_ended:
                continue
            log.error("worker_ended", worker=seat.index, pid=process.pid, reason=process.describe_end())
            pause = FIRST_PAUSE_S if monotonic() - since > LONGEST_PAUSE_S else pause
            while True:
                await asyncio.sleep(pause)
                if seat.process is not process:  # a restart has filled the seat
                    break
                pause, since = min(2 * pause, LONGEST_PAUSE_S), monotonic()
                try:
                    await self._fill(seat)
                except StartupError as error:
                    log.error("worker_start_failed", worker=seat.index, error=str(error), again_in_s=pause)

    async def _watch(self) -> None:
        """Kills workers that hang."""
        while True:
            await asyncio.sleep(BEAT_EVERY_S)
            for process in tuple(self._processes):
                if not process.is_ready:
                    continue
                process.missed_beats += 1
                if process.missed_beats >= HANGS_AFTER_BEATS:
                    log.error("worker_frozen", worker=process.index, pid=process.pid)
                    process.signal(signal.SIGKILL)

    async def _restart_when_asked(self) -> None:
        while True:
            await self._restart.wait()
            self._restart.clear()
            log.info("workers_restarting", workers=len(self._seats))
            for seat in self._seats:
                if not await self._replace(seat):
                    break
            else:
                log.info("workers_restarted", workers=len(self._seats))

    async def _replace(self, seat: _Seat) -> bool:
        """Replaces the seat's worker in order. Returns False if the new one cannot start; the old one stays then."""
        try:
            await self._fill(seat)
        except StartupError as error:
            log.error("workers_restart_failed", worker=seat.index, error=str(error))
            return False
        if seat.retirement is not None:
            await asyncio.wait({seat.retirement})
        return True

    async def _retire(self, old: WorkerProcess) -> None:
        """Lets the runs and streams of a process end, and then the process."""
        old.send("retire", patience_s=RETIRE_S)
        try:
            async with asyncio.timeout(RETIRE_S + STOP_TIMEOUT_S):
                await old.wait()
        except TimeoutError:
            await old.stop(STOP_TIMEOUT_S)

    def _on_message(self, process: WorkerProcess, message: Message) -> None:
        assert self._tasks is not None
        if message["kind"] == "collect":
            self._tasks.create_task(self._collect(process, message["id"]))

    async def _collect(self, asker: WorkerProcess, number: int) -> None:
        """Answers a worker with the snapshots of all workers, and the counters of those that have ended.

        The newest workers come last, so that counts whose form has changed have the new one (`add_counts`).
        """
        processes = [process for process in self._processes if process.is_ready]
        answers = await asyncio.gather(*(process.ask("snapshot", ANSWER_TIMEOUT_S) for process in processes))
        counts, gauges = self._past_counts, list[Any]()
        for process, answer in zip(processes, answers, strict=True):
            if process.has_ended:  # the counters of those that have ended include its own
                continue
            counts = add_counts(counts, process.counts)
            gauges += [] if answer is None else [answer.get("gauges", {})]
        asker.send("answer", id=number, counts=counts, gauges=gauges)

    def _announce(self) -> None:
        """Sends all workers the list of the workers."""
        found = sorted(self._processes, key=lambda process: (process.index, process.pid))
        workers = [{"worker": each.index, "pid": each.pid, "status": _status(each)} for each in found]
        for process in found:
            process.send("workers", workers=workers)


def _status(process: WorkerProcess) -> str:
    if not process.is_ready:
        return "starting"
    return "stopping" if process.is_retired else "serving"
