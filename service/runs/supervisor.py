"""Sees to it that every run that needs a process has one, and that none outlives its time.

Runs come to this process by claim: with the append that creates or wakes them where there is room (`offer`), else by
the scan, which also takes over the runs of processes that died and expires what is overdue.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Any

import structlog

from events.actors import ProcessActor
from events.envelope import Origin, RecordedEvent
from events.errors import DomainError, StaleClaim
from events.ids import IdSource
from events.object_changes import initial_run
from events.objects import Run
from events.thread import events as e
from events.thread.commands import Claim, ClaimRun, ExpireRun
from events.thread.state import ThreadState
from projections import runs
from service.database import DATABASE_ERRORS
from service.model.base import Model
from service.peers import Peers
from service.runs.executor import Executor, call_ids, journaled
from service.runs.images import Images
from service.tools.registry import Tools
from service.writer import Writer

log = structlog.get_logger()

SCAN_EVERY = 1.0
# A live process expires its own runs to the second; others step in after this grace.
EXPIRY_GRACE = 3
SCAN_LIMIT = 200
RETRY_AFTER = 0.5
STARTUP_CLAIMS = 16


class Supervisor:
    def __init__(
        self,
        writer: Writer,
        model: Model,
        peers: Peers,
        *,
        ids: IdSource,
        max_runs: int,
        images: Images | None = None,
        tools: Tools | None = None,
    ) -> None:
        self._writer = writer
        self._model = model
        self._peers = peers
        self._ids = ids
        self._max_runs = max_runs
        self._images = images
        self._tools = tools or Tools()
        self._offered = 0
        self._executors: dict[str, Executor] = {}
        self._backlog = False
        self._adrift: frozenset[str] = frozenset()
        self._looked = 0.0
        self._nudge = asyncio.Event()
        self._tasks: asyncio.TaskGroup | None = None

    @property
    def active(self) -> int:
        """Runs at work in this process."""
        return len(self._executors)

    @contextmanager
    def offer(self, tools: Sequence[Mapping[str, Any]] = ()) -> Iterator[Claim | None]:
        """A claim to go with the append that creates or wakes a run, while the context lasts; None where it is full."""
        full = len(self._executors) + self._offered >= self._max_runs
        if self._tasks is None or full or not self._peers.held:
            self._backlog = True
            yield None
            return
        self._offered += 1
        try:
            yield Claim(self._peers.process, None if self._tools.unavailable(tools) else call_ids(self._ids))
        finally:
            self._offered -= 1

    def on_thread_append(
        self, thread_id: str, recorded: Sequence[RecordedEvent[e.ThreadEvent]], state: ThreadState
    ) -> None:
        """Starts the executor of a run that was just claimed for us; tells one whose run was changed by another."""
        executor = self._executors.get(thread_id)
        if any(isinstance(r.event, e.RunClaimed) and r.event.process == self._peers.process for r in recorded):
            self._start(thread_id, recorded, state)
        elif executor is not None and (
            not executor.holds(state) or (state.run is not None and state.run.status == "cancelling")
        ):
            executor.interrupt()

    def on_wake(self, stream_id: str) -> None:
        executor = self._executors.get(stream_id)
        if executor is not None:
            executor.interrupt()

    def unsettled(self) -> None:
        """A peer came or went, or this process lost its lock: look anew at everything, our own runs included."""
        self._nudge.set()
        for thread_id, executor in self._executors.items():
            executor.interrupt()
            self._writer.feed.wake_watchers(thread_id)

    async def run(self) -> None:
        """Supervises until cancelled. Cancelling stops the executors; their runs go on in whoever claims them next."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            try:
                await self._scan_on()
            finally:
                self._tasks = None

    async def _scan_on(self) -> None:
        while True:
            self._nudge.clear()
            try:
                wait = await self._scan()
            except DATABASE_ERRORS as error:
                log.warning("scan failed", error=str(error) or type(error).__name__)
                wait = RETRY_AFTER
            except Exception:
                # One failing look must not end the server: the next one may succeed, and runs at work go on.
                log.exception("scan failed")
                wait = SCAN_EVERY
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._nudge.wait()

    async def _scan(self) -> float:
        """Expires what is overdue, then claims what nobody holds. Returns the seconds until the next look."""
        at = int(self._writer.clock.now().timestamp())
        async with self._writer.pool.acquire() as db:
            overdue = await runs.find_overdue(db, at, SCAN_LIMIT)
        for run in overdue:
            await self._expire(run, at)
        if not self._peers.held:
            # Peers take us for dead, and would take over at once what we claim.
            return RETRY_AFTER
        if monotonic() - self._looked >= SCAN_EVERY:
            self._looked = monotonic()
            await self._recover()
        room = min(SCAN_LIMIT, self._max_runs - len(self._executors) - self._offered)
        if room > 0:
            async with self._writer.pool.acquire() as db:
                waiting = await runs.find_unowned(db, sorted(self._peers.live), room)
                if any(run.process is not None for run in waiting):
                    # Its process may have come since we last looked; who claimed a run had its lock before.
                    live = await self._peers.look(db)
                    waiting = [run for run in waiting if run.process not in live]
                first = await runs.next_expiry(db)
            self._backlog = len(waiting) == room
            for start in range(0, len(waiting), STARTUP_CLAIMS):
                await asyncio.gather(*(self._claim(run) for run in waiting[start : start + STARTUP_CLAIMS]))
        else:
            self._backlog = True
            async with self._writer.pool.acquire() as db:
                first = await runs.next_expiry(db)
        left = SCAN_EVERY if first is None else first - self._writer.clock.now().timestamp()
        return min(SCAN_EVERY, max(left, 0.05))

    async def _recover(self) -> None:
        """Claims anew what is ours in the log and has no executor here: the answer to some append never came.

        Only what two looks have found, lest it be a claim that was committed just now and is about to start.
        """
        known = [executor.run_id for executor in self._executors.values()]
        async with self._writer.pool.acquire() as db:
            adrift = {run.run_id: run for run in await runs.find_held(db, self._peers.process, known, SCAN_LIMIT)}
        for run_id in self._adrift & adrift.keys():
            await self._claim(adrift[run_id])
        self._adrift = frozenset(adrift)

    async def _expire(self, run: runs.ActiveRun, at: int) -> None:
        """Expires a run, unless a live process holds it and is about to do so itself."""
        if run.process in self._peers.live:
            async with self._writer.pool.acquire() as db:
                overdue = await runs.find_overdue(db, at - EXPIRY_GRACE, SCAN_LIMIT)
            if run not in overdue:
                return
        with self.offer() as claim:
            await self._try(run, ExpireRun(run.run_id, claim))

    async def _claim(self, run: runs.ActiveRun) -> None:
        await self._try(run, ClaimRun(run.run_id, self._peers.process, run.process))

    async def _try(self, run: runs.ActiveRun, command: ExpireRun | ClaimRun) -> None:
        """One run that cannot be acted on (newer software wrote it, say) must not keep us from the others."""
        try:
            await self._writer.thread(self._origin(run.project_id), run.thread_id, command)
        except DATABASE_ERRORS:
            raise
        except DomainError as error:
            log.info("left alone", thread_id=run.thread_id, run_id=run.run_id, reason=error.message)
        except Exception as error:
            log.exception("left alone", thread_id=run.thread_id, run_id=run.run_id, error=str(error))

    def _start(self, thread_id: str, recorded: Sequence[RecordedEvent[Any]], state: ThreadState) -> None:
        if self._tasks is None or state.run is None:
            return
        run: Run | None = None
        for entry in recorded:
            if isinstance(entry.event, e.RunCreated) and entry.event.run_id == state.run.id:
                run = initial_run(entry)
        ours = journaled(entry.event for entry in recorded)
        origin = self._origin(recorded[0].project_id, cause=state.run.id)
        claimed = (state.run.id, state.run.epoch, ours, run)
        executor = Executor(
            self._writer, self._model, origin, thread_id, *claimed, self._images, self._tools, ids=self._ids
        )
        self._executors[thread_id] = executor
        self._tasks.create_task(self._execute(executor, state))

    async def _execute(self, executor: Executor, state: ThreadState) -> None:
        """Carries a run on whatever happens: a failing database is waited for, anything unforeseen fails the run."""
        structlog.contextvars.bind_contextvars(thread_id=executor.thread_id, run_id=executor.run_id)
        try:
            while True:
                try:
                    return await executor.carry(state)
                except StaleClaim:
                    return None
                except DATABASE_ERRORS as error:
                    log.warning("the database failed a run; trying again", error=str(error) or type(error).__name__)
                    state = await self._reload(executor)
                except Exception as error:
                    log.exception("a run broke")
                    return await self._give_up(executor, error)
        except Exception:
            # Neither carried on nor ended: a later look claims it anew, or it expires; the other runs go on.
            log.exception("could not act on a run")
        finally:
            if self._executors.get(executor.thread_id) is executor:
                del self._executors[executor.thread_id]
            if self._backlog:
                self._nudge.set()

    async def _reload(self, executor: Executor) -> ThreadState:
        while True:
            await asyncio.sleep(RETRY_AFTER)
            try:
                executor.forget_calls()
                return await self._writer.load_thread(executor.thread_id)
            except DATABASE_ERRORS:
                continue

    async def _give_up(self, executor: Executor, error: Exception) -> None:
        """Fails the run with the cause, once; raises what stands in the way."""
        with suppress(StaleClaim):
            await executor.fail(f"The server failed on this run: {type(error).__name__}: {error}")

    def _origin(self, project_id: str, cause: str | None = None) -> Origin:
        return Origin(project_id=project_id, actor=ProcessActor(self._peers.process), cause=cause)
