"""Gives every run that needs a process one, and ends every run whose time is up.

A run comes to this process by a claim. If there is room, the append that creates or wakes a run claims it (`offer`).
Otherwise the scan claims it; it also claims the runs of processes that died, and expires overdue runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import Any

import structlog

from events.actors import ProcessActor
from events.envelope import Origin, RecordedEvent
from events.errors import DomainError, StaleClaim
from events.ids import IdSource
from events.object_changes import initial_run
from events.objects import Step
from events.thread import events as e
from events.thread.commands import Claim, ClaimRun, ExpireRun
from events.thread.state import ThreadState
from projections import active_runs
from service.database import DATABASE_ERRORS, mark_background_work
from service.model.base import Model
from service.processes.orphans import SecondSighting, find_orphans
from service.processes.peers import Peers
from service.processes.scan_loop import ScanLoop
from service.runs.executor import Executor, last_journaled_call, new_call_ids
from service.runs.failures import describe_failure
from service.runs.history import HistoryReader
from service.runs.images import PromptImages
from service.runs.paused_runs import PausedRuns
from service.tools.registry import Tools
from service.workers.shared_sessions import SharedSessions
from service.writer import Writer

log = structlog.get_logger()

SCAN_EVERY_S = 1.0
SHORTEST_PAUSE_S = 0.05
# A live process expires its own runs to the second; other processes do it after so many more seconds.
EXPIRY_GRACE_S = 3
SCAN_LIMIT = 200
# Seconds for which a run is left to the worker that holds the sandbox session of its thread.
SESSION_GRACE_S = 1.0
RETRY_AFTER_S = 0.5
# Seconds for the release of the runs of a process that stops.
RELEASE_TIMEOUT_S = 2.0
# Runs that a scan claims at the same time.
CLAIMS_AT_ONCE = 16
# Seconds for which a scan claims one page of runs after another. The runs start afterwards, since the work of the first
# ones would delay the claims of the last ones of a long backlog.
CLAIM_FOR_S = 2.0


class Supervisor:
    """The executors of this process, at most `max_runs` of them.

    `tools` are the hosted tools that runs may use. `sessions` are those of the workers of this server, if there are
    several: a run is left to the worker that holds its thread's session, for SESSION_GRACE_S seconds.
    """

    def __init__(
        self,
        writer: Writer,
        model: Model,
        peers: Peers,
        *,
        ids: IdSource,
        max_runs: int,
        images: PromptImages | None = None,
        tools: Tools | None = None,
        sessions: SharedSessions | None = None,
    ) -> None:
        self._sessions = sessions
        # The runs that are left to the worker with their thread's session, and until when.
        self._left_runs: dict[str, float] = {}
        self._writer = writer
        self._model = model
        self._peers = peers
        self._ids = ids
        self._max_runs = max_runs
        self._images = images
        self._histories = HistoryReader(writer.pool)
        self._paused_runs = PausedRuns()
        self._tools = tools or Tools()
        self._loop = ScanLoop("runs", every_s=SCAN_EVERY_S, retry_s=RETRY_AFTER_S)
        self._tasks: asyncio.TaskGroup | None = None
        self._executors: dict[str, Executor] = {}
        self._work: set[asyncio.Task[None]] = set()
        self._is_retired = False
        self._is_draining = False
        # Claims that are offered to requests and not used yet.
        self._offers = 0
        # Whether there may be runs that wait for room here.
        self._has_backlog = False
        # The threads whose runs the present scan has claimed, and an event that it sets at its end.
        self._claimed_threads: set[str] = set()
        self._claims_end = asyncio.Event()
        self._lost_claims: SecondSighting[str, active_runs.ActiveRun] = SecondSighting()
        self._last_recovery = 0.0

    @property
    def active(self) -> int:
        """The number of runs at work in this process."""
        return len(self._executors)

    @contextmanager
    def offer(self, tools: Sequence[Mapping[str, Any]] = (), *, thread_id: str = "") -> Iterator[Claim | None]:
        """Yields a claim for the append that creates or wakes a run; None if there is no room for another run.

        None too if another worker holds the sandbox session of the thread, which claims the run then.
        The claim starts the first model call too, unless this process lacks one of the run's `tools`.
        """
        is_full = self.active + self._offers >= self._max_runs
        if self._tasks is None or self._is_retired or is_full or not self._peers.has_lock:
            self._has_backlog = True
            yield None
            return
        if self._sessions is not None and thread_id and self._sessions.is_elsewhere(thread_id):
            yield None
            return
        self._offers += 1
        try:
            yield Claim(
                self._peers.process, None if self._tools.unavailable_reasons(tools) else new_call_ids(self._ids)
            )
        finally:
            self._offers -= 1

    def find_step(self, thread_id: str, step_id: str, *, version: int) -> Step | None:
        """Returns a tool_calls step as of this version of its thread, if this process keeps it."""
        return self._histories.find_step(thread_id, step_id, version=version)

    def on_thread_append(
        self, thread_id: str, recorded: Sequence[RecordedEvent[e.ThreadEvent]], state: ThreadState
    ) -> None:
        """Starts the executor of a run that this process has claimed, and interrupts one whose run has changed."""
        executor = self._executors.get(thread_id)
        self._histories.follow(thread_id, recorded)
        is_paused = any(isinstance(r.event, e.RunRequiresAction) for r in recorded)
        if is_paused and executor is not None and executor.run is not None:
            self._paused_runs.put(executor.run)
        if any(isinstance(r.event, e.RunClaimed) and r.event.process == self._peers.process for r in recorded):
            self._start(thread_id, recorded, state)
        elif executor is not None and (
            not executor.holds(state) or (state.run is not None and state.run.status == "cancelling")
        ):
            executor.interrupt()

    def on_wake(self, stream_id: str) -> None:
        """Interrupts the thread's executor: another process may have changed the run.

        If the session of the thread is here, another worker may have left its new run to this process.
        """
        executor = self._executors.get(stream_id)
        if executor is not None:
            executor.interrupt()
        elif self._sessions is not None and self._sessions.is_here(stream_id):
            self._loop.nudge()

    def on_peers_change(self) -> None:
        """Scans at once, and interrupts all executors: this process may have lost its lock, and its claims with it."""
        self._loop.nudge()
        for thread_id, executor in self._executors.items():
            executor.interrupt()
            self._writer.feed.wake_watchers(thread_id)

    async def run(self) -> None:
        """Supervises until cancelled. The executors stop then and release their runs; other processes claim them."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            try:
                await self._loop.run(self._scan)
            finally:
                self._tasks = None

    def retire(self) -> None:
        """Claims nothing from now on. The runs at work go on."""
        self._is_retired = True

    async def drain(self) -> None:
        """Claims nothing from now on, and releases all runs at once, so that other processes claim them.

        The attempts do not count. Takes at most RELEASE_TIMEOUT_S seconds, also if the database does not answer.
        """
        self.retire()
        self._is_draining = True
        work = tuple(self._work)
        for task in work:
            task.cancel()
        if work:
            await asyncio.wait(work, timeout=RELEASE_TIMEOUT_S)

    async def _scan(self) -> float:
        """Expires overdue runs and claims those that no process holds. Returns the seconds until the next scan."""
        if self._is_retired:
            return SCAN_EVERY_S
        at = int(self._writer.clock.now().timestamp())
        async with self._writer.pool.acquire() as db:
            overdue = await active_runs.find_overdue(db, at, SCAN_LIMIT)
        for run in overdue:
            await self._expire(run, at)
        if not self._peers.has_lock:
            # The peers take this process for dead, and would take over at once what it claims.
            return RETRY_AFTER_S
        if monotonic() - self._last_recovery >= SCAN_EVERY_S:
            self._last_recovery = monotonic()
            await self._recover()
        if await self._claim_orphans():
            return SHORTEST_PAUSE_S
        async with self._writer.pool.acquire() as db:
            next_expiry = await active_runs.next_expiry(db)
        left = SCAN_EVERY_S if next_expiry is None else next_expiry - self._writer.clock.now().timestamp()
        return min(SCAN_EVERY_S, max(left, SHORTEST_PAUSE_S))

    async def _claim_orphans(self) -> bool:
        """Claims the runs that no process holds, then lets them start. Returns whether there may be more.

        Stops after CLAIM_FOR_S seconds.
        """
        until = monotonic() + CLAIM_FOR_S
        try:
            while await self._claim_page():
                if monotonic() >= until:
                    return True
            return False
        finally:
            self._claimed_threads.clear()
            self._claims_end.set()
            self._claims_end = asyncio.Event()

    async def _claim_page(self) -> bool:
        """Claims up to SCAN_LIMIT runs, as far as there is room.

        Returns whether there may be more, and room for them.
        """
        room = max(0, min(SCAN_LIMIT, self._max_runs - self.active - self._offers))
        # An offer that is refused from now on sets it again.
        self._has_backlog = False
        orphans: list[active_runs.ActiveRun] = []
        if room > 0:
            async with self._writer.pool.acquire() as db:
                orphans = await find_orphans(db, self._peers, lambda live: active_runs.find_unowned(db, live, room))
        self._has_backlog |= len(orphans) == room
        is_last_page = len(orphans) < SCAN_LIMIT
        orphans = self._leave_to_others(orphans)
        before = self.active
        for start in range(0, len(orphans), CLAIMS_AT_ONCE):
            page = orphans[start : start + CLAIMS_AT_ONCE]
            self._claimed_threads.update(run.thread_id for run in page)
            await asyncio.gather(*(self._claim(run) for run in page))
        return not is_last_page and self.active > before and not self._is_retired

    def _leave_to_others(self, orphans: list[active_runs.ActiveRun]) -> list[active_runs.ActiveRun]:
        """Returns the runs without those that are left to the worker with their thread's session for a moment."""
        sessions, now = self._sessions, monotonic()
        if sessions is None:
            return orphans
        left = {run.run_id for run in orphans if sessions.is_elsewhere(run.thread_id)}
        self._left_runs = {run_id: self._left_runs.get(run_id, now + SESSION_GRACE_S) for run_id in left}
        return [run for run in orphans if self._left_runs.get(run.run_id, now) <= now]

    async def _recover(self) -> None:
        """Claims the runs again that this process holds in the log but does not execute.

        The answer to the append of such a claim was lost. See `SecondSighting`.
        """
        known = [executor.run_id for executor in self._executors.values()]
        async with self._writer.pool.acquire() as db:
            held = await active_runs.find_held(db, self._peers.process, known, SCAN_LIMIT)
        for run in self._lost_claims.confirm({run.run_id: run for run in held}):
            await self._claim(run)

    async def _expire(self, run: active_runs.ActiveRun, at: int) -> None:
        """Expires a run, unless a live process holds it and its grace is not over."""
        if run.process in self._peers.live:
            async with self._writer.pool.acquire() as db:
                overdue = await active_runs.find_overdue(db, at - EXPIRY_GRACE_S, SCAN_LIMIT)
            if run not in overdue:
                return
        with self.offer() as claim:
            await self._try(run, ExpireRun(run.run_id, claim))

    async def _claim(self, run: active_runs.ActiveRun) -> None:
        if self._is_retired:
            # The retirement came during the scan.
            return
        await self._try(run, ClaimRun(run.run_id, self._peers.process, run.process))

    async def _try(self, run: active_runs.ActiveRun, command: ExpireRun | ClaimRun) -> None:
        """Appends the command. Logs why it fails: one run that newer software wrote must not stop the scan."""
        try:
            await self._writer.thread(self._origin(run.project_id), run.thread_id, command)
        except DATABASE_ERRORS:
            raise
        except DomainError as error:
            log.info("run_skipped", thread_id=run.thread_id, run_id=run.run_id, reason=error.message)
        except Exception as error:
            log.exception("run_skipped", thread_id=run.thread_id, run_id=run.run_id, error=str(error))

    def _start(self, thread_id: str, recorded: Sequence[RecordedEvent[Any]], state: ThreadState) -> None:
        if self._tasks is None or state.run is None:
            return
        run = self._paused_runs.take(state.run.id)
        for entry in recorded:
            if isinstance(entry.event, e.RunCreated) and entry.event.run_id == state.run.id:
                # One that has just been admitted is read with its time of expiry.
                run = initial_run(entry) if entry.event.expires_at is not None else None
        origin = self._origin(recorded[0].project_id, cause=state.run.id)
        executor = Executor(
            self._writer,
            self._model,
            origin,
            thread_id=thread_id,
            run_id=state.run.id,
            epoch=state.run.epoch,
            own_call=last_journaled_call(entry.event for entry in recorded),
            histories=self._histories,
            ids=self._ids,
            run=run,
            images=self._images,
            tools=self._tools,
        )
        self._executors[thread_id] = executor
        start = self._claims_end if thread_id in self._claimed_threads else None
        task = self._tasks.create_task(self._execute(executor, state, recorded[-1].version, start))
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    async def _execute(
        self, executor: Executor, state: ThreadState, version: int | None, start: asyncio.Event | None
    ) -> None:
        """Executes the run, after `start` if it is given.

        Waits while the database fails; any other error fails the run, also if the database fails meanwhile.
        """
        structlog.contextvars.bind_contextvars(thread_id=executor.thread_id, run_id=executor.run_id)
        mark_background_work()  # the task may have been created by a request
        try:
            if self._is_draining:
                # The claim was offered to a request before.
                return await self._release(executor)
            if start is not None:
                await start.wait()
            cause: Exception | None = None
            while True:
                try:
                    if cause is not None:
                        return await self._give_up(executor, cause)
                    return await executor.execute(state, version)
                except StaleClaim:
                    return None
                except DATABASE_ERRORS as error:
                    log.warning("run_retried", error=str(error) or type(error).__name__)
                    state, version = await self._reload(executor), None
                except Exception as error:
                    if cause is not None:
                        raise
                    log.exception("run_broken")
                    cause = error
        except asyncio.CancelledError:
            await self._release(executor)
            raise
        except Exception:
            # The run could not even be failed. A later scan claims it again, or it expires; other runs are not
            # affected.
            log.exception("run_abandoned")
        finally:
            if self._executors.get(executor.thread_id) is executor:
                del self._executors[executor.thread_id]
            if self._has_backlog:
                self._loop.nudge()

    async def _release(self, executor: Executor) -> None:
        """Releases the claim, so that the attempt does not count and a peer claims the run at once.

        The server stops: if the database does not answer within RELEASE_TIMEOUT_S, the claim falls with the process.
        """
        try:
            async with asyncio.timeout(RELEASE_TIMEOUT_S):
                await executor.release()
        except (StaleClaim, *DATABASE_ERRORS) as error:
            log.info("run_not_released", error=str(error) or type(error).__name__)

    async def _reload(self, executor: Executor) -> ThreadState:
        while True:
            await asyncio.sleep(RETRY_AFTER_S)
            try:
                executor.forget_calls()
                return await self._writer.load_thread(executor.thread_id)
            except DATABASE_ERRORS:
                continue

    async def _give_up(self, executor: Executor, error: Exception) -> None:
        """Fails the run, with the error as its cause. Raises StaleClaim, and the error of the append if that fails."""
        await executor.fail(f"The server failed on this run: {describe_failure(error)}")

    def _origin(self, project_id: str, cause: str | None = None) -> Origin:
        return Origin(project_id=project_id, actor=ProcessActor(self._peers.process), cause=cause)
