"""A process of Everthread without HTTP: pool, feed, writer, peers and supervisor, which can be killed at any moment."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Any, Self

from events import event_log
from events.clock import Clock
from events.envelope import RecordedEvent
from events.errors import NotFound
from events.event_log import Head
from events.objects import Message, Run, Step
from events.thread.commands import CancelRun, CreateRun, ThreadCommand
from events.thread.run_status import TERMINAL
from events.thread.state import ThreadState
from projections import messages, runs, steps, threads
from projections.append import Append, Guard
from projections.rows import Cursor
from service.database import Pool, open_pool
from service.feed import Feed
from service.processes.peers import Peers
from service.runs.supervisor import Supervisor
from service.tools.base import HostedTool
from service.tools.registry import Tools
from service.workers.shared_sessions import SharedSessions
from service.writer import Writer
from sql.connection import Connection
from tests.clock import CLOCK, IDS
from tests.events.thread.log_rules import find_problems
from tests.events.thread.story import CREATE, SETTINGS, add, submit
from tests.projections.helpers import ORIGIN
from tests.runs.fake_model import WAIT_S, FakeModel

EVERYTHING = Cursor(limit=1000, order="asc")


class CountingWriter(Writer):
    """Records in `appends` the types of the events of each append."""

    def __init__(self, pool: Pool, feed: Feed, *, clock: Clock = CLOCK) -> None:
        super().__init__(pool, feed, clock=clock, ids=IDS)
        self.appends: list[list[str]] = []

    async def _append(self, db: Connection, new: Append[Any], guard: Guard | None) -> Head:
        head = await super()._append(db, new, guard)
        self.appends.append([entry.event.type for entry in new.recorded])
        return head


class Process:
    """A context manager. `kill` ends the process as kill -9 does, without a message to the database."""

    def __init__(
        self,
        url: str,
        model: FakeModel,
        *,
        max_runs: int = 100,
        tools: Sequence[HostedTool] = (),
        make_writer: Callable[[Pool, Feed], Writer] | None = None,
        clock: Clock = CLOCK,
        sessions: SharedSessions | None = None,
    ) -> None:
        self.sessions = sessions
        self.url = url
        self.model = model
        self.max_runs = max_runs
        self.tools = Tools(tools)
        self.feed = Feed()
        self._make_writer = make_writer or partial(CountingWriter, clock=clock)
        self._tasks: list[asyncio.Task[None]] = []
        self._changed = asyncio.Event()

    async def __aenter__(self) -> Self:
        self.pool = await open_pool(self.url)
        self.writer = self._make_writer(self.pool, self.feed)
        self.peers = Peers(self.url, ids=IDS, wake=self.feed.wake)
        self.peers.listen(self)
        await self.peers.join()
        self.supervisor = Supervisor(
            self.writer,
            self.model,
            self.peers,
            ids=IDS,
            max_runs=self.max_runs,
            tools=self.tools,
            sessions=self.sessions,
        )
        self.feed.listen_to_threads(self.supervisor)
        self.feed.listen_to_wakes(self.supervisor)
        self.feed.listen_to_threads(self.peers)
        work = (self.peers.run(), self.feed.run(self.pool), self.supervisor.run())
        self._tasks = [asyncio.create_task(one) for one in work]
        await asyncio.sleep(0)  # the supervisor makes offers only while it runs
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            if task.done() and not task.cancelled():
                await task  # the error that broke the process
        await self.kill()

    async def stop(self) -> None:
        """Ends the process in order, as SIGTERM does."""
        for task in reversed(self._tasks):
            task.cancel()
            await asyncio.wait({task}, timeout=WAIT_S)
        await self.peers.leave()

    async def kill(self) -> None:
        if self.peers._db is not None:
            self.peers._db.terminate()
        self.pool.terminate()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=WAIT_S)
        self._tasks = []

    def on_peers_change(self) -> None:
        if hasattr(self, "supervisor"):
            self.supervisor.on_peers_change()
        self._changed.set()

    async def wait_for_peers(self, *processes: Process) -> None:
        """Waits until this process sees exactly these other processes alive."""
        expected = {process.peers.process for process in (self, *processes)}
        async with asyncio.timeout(WAIT_S):
            while self.peers.live != expected:
                self._changed.clear()
                await self._changed.wait()

    # Actions of a client. An action that is done already does nothing, so that a client can try again after a crash.

    async def say(self, thread_id: str, text: str) -> None:
        """Creates a thread with one message of the user."""
        async with self.pool.acquire() as db:
            there = await _found(threads.get(db, "proj_1", thread_id))
            said = await _found(messages.get(db, "proj_1", thread_id, f"msg_{thread_id}"))
        if there is None:
            await self.writer.thread(ORIGIN, thread_id, CREATE)
        if said is None:
            await self.writer.thread(ORIGIN, thread_id, add(text, f"msg_{thread_id}"))

    async def add(self, thread_id: str, text: str, message_id: str) -> None:
        """Adds a message of the user, even if a run is active."""
        async with self.pool.acquire() as db:
            said = await _found(messages.get(db, "proj_1", thread_id, message_id))
        if said is None:
            await self.writer.thread(ORIGIN, thread_id, add(text, message_id, queue=True))

    async def begin(
        self, thread_id: str, *, lifetime: int = 600, run_id: str = "", queue: bool = False, **settings: Any
    ) -> Run:
        """Creates a run, which is claimed at once if there is room."""
        run_id = run_id or f"run_{thread_id}"
        async with self.pool.acquire() as db:
            made = await _found(runs.get(db, "proj_1", thread_id, run_id))
        if made is None:
            whole = replace(SETTINGS, **settings)
            with self.supervisor.offer(whole.tools, thread_id=thread_id) as claim:
                command = CreateRun(run_id, whole, (), lifetime, claim, queue=queue)
                await self.writer.thread(ORIGIN, thread_id, command)
        return made or await self.run(thread_id, run_id)

    async def answer(self, run: Run) -> None:
        """Submits the outputs that the run requires."""
        if run.status == "requires_action":
            ids = [call["id"] for call in run.required_calls or ()]
            with self.supervisor.offer() as claim:
                command = submit(*ids, status=run.status, claim=claim, run_id=run.id)
                await self.writer.thread(ORIGIN, run.thread_id, command)

    async def cancel(self, run: Run) -> None:
        if run.status not in TERMINAL | {"cancelling"}:
            await self.do(run.thread_id, CancelRun(run.id, run.status))

    async def do(self, thread_id: str, command: ThreadCommand) -> None:
        await self.writer.thread(ORIGIN, thread_id, command)

    # Reads of a client.

    async def run(self, thread_id: str, run_id: str = "") -> Run:
        async with self.pool.acquire() as db:
            return await runs.get(db, "proj_1", thread_id, run_id or f"run_{thread_id}")

    async def messages(self, thread_id: str) -> list[Message]:
        async with self.pool.acquire() as db:
            return (await messages.page(db, "proj_1", thread_id, EVERYTHING)).items

    async def steps(self, thread_id: str, run_id: str = "") -> list[Step]:
        async with self.pool.acquire() as db:
            return (await steps.page(db, "proj_1", thread_id, run_id or f"run_{thread_id}", EVERYTHING)).items

    async def log(self, thread_id: str) -> list[RecordedEvent[Any]]:
        """Returns the thread's events, and checks that they have no problems."""
        async with self.pool.acquire() as db:
            return await read_log(db, thread_id)

    async def wait_for(self, thread_id: str, holds: Callable[[ThreadState], bool]) -> ThreadState:
        """Waits for a state of the thread, and returns it."""
        async with asyncio.timeout(WAIT_S):
            with self.feed.watch(thread_id) as watcher:
                while not holds(state := await self.writer.load_thread(thread_id)):
                    await watcher.take()
                return state

    async def wait_until_settled(self, thread_id: str, run_id: str = "") -> Run:
        """Waits until the run has ended or requires outputs of the client, and returns it."""
        await self.wait_for(thread_id, lambda state: state.run is None or state.run.status == "requires_action")
        return await self.run(thread_id, run_id)

    async def wait_for_end(self, thread_id: str, run_id: str) -> Run:
        """Waits until the run has ended, and returns it. Other runs may wait behind it."""

        def ended(state: ThreadState) -> bool:
            return run_id not in {run.id for run in (state.run, *(one.run for one in state.waiting)) if run}

        await self.wait_for(thread_id, ended)
        return await self.run(thread_id, run_id)


async def _found(reading: Any) -> Any:
    try:
        return await reading
    except NotFound:
        return None


def texts(found: list[Message]) -> list[tuple[str, str]]:
    """Returns the role and text of each message."""
    return [(message.role, message.content[0]["text"]["value"]) for message in found]


async def read_log(db: Connection, thread_id: str) -> list[RecordedEvent[Any]]:
    """Returns the thread's events, and checks that they have no problems."""
    found: list[RecordedEvent[Any]] = await event_log.read(db, thread_id)
    assert list(find_problems(found)) == []
    return found
