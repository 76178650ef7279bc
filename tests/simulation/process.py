"""A simulated process: the real parts of the server, over a network of its own, on a machine of its own."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import datetime, timedelta
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import asyncpg

from events.clock import Clock
from events.envelope import RecordedEvent
from events.ids import SeededIds
from service.audit.sequencer import Sequencer
from service.database import DATABASE_ERRORS, Pool
from service.feed import Feed, WatcherEnded, WatcherLagging, tail
from service.idempotency.keys import IdempotencyKeys
from service.processes.peers import Peers
from service.runs.supervisor import Supervisor
from service.storage.base import Blobs
from service.tools.registry import Tools
from service.vector_stores.builder import StoreBuilder
from service.vector_stores.supervisor import IndexingSupervisor
from service.webhooks.couriers import Couriers
from service.writer import Writer
from sql.connection import Connection
from tests.simulation.connection import SimulatedConnection
from tests.simulation.faults import FaultyNetwork, connection_lost
from tests.simulation.outside import OutsideWorld, SimulatedIndexer, SimulatedModel, SimulatedReceiver, SimulatedTool
from tests.simulation.scenario import Scenario
from tests.simulation.store import Store
from tests.simulation.virtual_loop import Machine, VirtualLoop

# Seconds after which Postgres notices that the connection of a dead process ended.
NOTICED_AFTER_S = 0.003
INDEXING_LIFETIME_S = 6


class ConnectionLost(Exception):
    """The process died while it worked on the request, or there is none."""


class SimulatedClock(Clock):
    """The database's clock, plus an offset that a fault changes."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.ahead = timedelta(0)

    def now(self) -> datetime:
        return self._store.now() + self.ahead

    def jump(self, seconds: float) -> None:
        """Moves the clock by so many seconds."""
        self.ahead += timedelta(seconds=seconds)


def virtual_monotonic() -> float:
    """Takes the place of `time.monotonic`."""
    return asyncio.get_running_loop().time()


class SimulatedProcess:
    """A process of the server. `epoch` is that of the views which its software writes."""

    def __init__(
        self,
        name: str,
        loop: VirtualLoop,
        store: Store,
        outside: OutsideWorld,
        scenario: Scenario,
        *,
        database: Machine,
        epoch: int,
    ) -> None:
        self.name = name
        self.machine = loop.add_machine(name)
        self.epoch = epoch
        self.clock = SimulatedClock(store)
        self.network = FaultyNetwork(Random(f"{scenario.seed} {name}"), database.context(), self.crash)
        self.is_stopping = False
        self.has_started = False
        # The error that ended the process, if one of its parts raised it.
        self.error: BaseException | None = None
        self._loop = loop
        self._store = store
        self._outside = outside
        self._scenario = scenario
        self._database = database
        self._ids = SeededIds(f"{scenario.seed} {name}".encode())
        self._connections: list[SimulatedConnection] = []
        self._requests: dict[asyncio.Future[Any], None] = {}
        self._tasks: list[asyncio.Task[Any]] = []
        self.is_unreachable: Callable[[], bool] = lambda: False

    @property
    def is_alive(self) -> bool:
        return self.machine.is_alive

    @property
    def accepts_requests(self) -> bool:
        return self.is_alive and self.has_started and not self.is_stopping

    def start(self) -> None:
        """Starts the process on its machine."""
        self._spawn(self._run())

    def crash(self) -> None:
        """Ends the process as kill -9 does. A statement on its way may take effect."""
        if not self.is_alive:
            return
        self._loop.kill(self.machine)
        context = self._database.context()
        for connection in self._connections:
            self._loop.call_later(NOTICED_AFTER_S, connection.break_off, connection_lost(), context=context)
        for request in self._requests:
            if not request.done():
                request.set_exception(ConnectionLost(self.name))

    async def stop(self) -> None:
        """Stops the process in order."""
        self.is_stopping = True
        await self.request(self._stop())
        self.crash()

    def let_wait(self, *, is_frozen: bool) -> None:
        """Lets statements run into their time-outs while the database is frozen."""
        self.network.is_database_frozen = is_frozen
        for connection in self._connections:
            connection.limit_wait()

    def cut(self) -> None:
        """Breaks all connections to the database."""
        for connection in self._connections:
            connection.break_off(connection_lost())

    async def request(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Carries out work on the machine of the process, for somebody outside. Raises ConnectionLost if it dies."""
        if not self.is_alive:
            work.close()
            raise ConnectionLost(self.name)
        answer: asyncio.Future[Any] = self._loop.create_future()
        self._requests[answer] = None

        def pass_on(task: asyncio.Task[Any]) -> None:
            if not answer.done():
                error = asyncio.CancelledError() if task.cancelled() else task.exception()
                if isinstance(error, asyncio.CancelledError):
                    answer.set_exception(ConnectionLost(self.name))
                elif error is not None:
                    answer.set_exception(error)
                else:
                    answer.set_result(task.result())

        self._spawn(work).add_done_callback(pass_on)
        try:
            return await answer
        finally:
            self._requests.pop(answer, None)

    async def connect(self) -> Connection:
        """Opens a connection to the database. Raises OSError if there is no way."""
        await asyncio.sleep(self.network.delay_s())
        if self.is_unreachable():
            raise ConnectionRefusedError("the database is away")
        made = SimulatedConnection(self._store.open_session(self.epoch), self.network)
        self._connections = [one for one in self._connections if not one.is_closed()]
        self._connections.append(made)
        return cast("Connection", made)

    async def follow(self, thread_id: str, after: int, see: Callable[[RecordedEvent[Any]], None]) -> None:
        """Streams a thread's events to a client until the stream breaks."""
        with self.feed.watch(thread_id) as watcher:
            watcher.put_deltas([], 0)  # so that the log is looked at once
            with suppress(WatcherEnded, WatcherLagging, *DATABASE_ERRORS):
                self.feed.wake_watchers(thread_id)
                async for items in tail(watcher, self.pool, after):
                    for item in items:
                        if isinstance(item, RecordedEvent):
                            see(item)

    async def _run(self) -> None:
        self._build()
        while True:
            try:
                await self.peers.join()
                break
            except Exception:  # noqa: BLE001 - the service manager starts it again
                await asyncio.sleep(0.5)
        self.has_started = True
        work = (
            self.peers.run(),
            self.feed.run(self.pool),
            self.supervisor.run(),
            self.sequencer.run(),
            self.keys.run(),
            self.couriers.run(),
            self.indexing.run(),
        )
        self._tasks = [self._loop.create_task(one) for one in work]
        try:
            await asyncio.gather(*self._tasks)
        except asyncio.CancelledError:
            pass
        except BaseException as error:  # noqa: BLE001 - a law says that there is none
            self.error = error

    def _build(self) -> None:
        ids, outside = self._ids, self._outside
        self.feed = Feed()
        self.pool = Pool(self.connect, min_size=0, max_size=10)
        self.writer = writer = Writer(self.pool, self.feed, clock=self.clock, ids=ids)
        self.peers = peers = Peers(self.name, ids=ids, wake=self.feed.wake)
        tools = Tools([SimulatedTool(outside)])
        self.supervisor = Supervisor(
            writer, SimulatedModel(outside), peers, ids=ids, max_runs=self._scenario.max_runs, tools=tools
        )
        self.sequencer = Sequencer(self.pool, peers, monotonic=virtual_monotonic)
        self.keys = IdempotencyKeys(self.pool, peers, clock=self.clock, ids=ids)
        metrics: Any = SimpleNamespace(webhooks=Counter())
        receiver: Any = SimulatedReceiver(outside)
        self.couriers = Couriers(writer, peers, receiver, metrics)
        indexer = SimulatedIndexer(outside)
        self.indexing = IndexingSupervisor(
            writer,
            indexer,
            cast("Blobs", None),
            peers,
            check_quota=_no_quota,
            ids=ids,
            max_jobs=2,
            lifetime=INDEXING_LIFETIME_S,
        )
        self.stores = StoreBuilder(
            writer, check_quota=_no_quota, embedding_model="minilm", can_index=indexer.can_index, max_files=10
        )
        for thread_listener in (peers, self.supervisor, self.sequencer, self.couriers):
            self.feed.listen_to_threads(thread_listener)
        for store_listener in (peers, self.sequencer, self.indexing):
            self.feed.listen_to_stores(store_listener)
        for wake_listener in (self.sequencer, self.supervisor, self.couriers, self.indexing):
            self.feed.listen_to_wakes(wake_listener)
        peers.listen(self.supervisor)
        peers.listen(self.indexing)

    async def _stop(self) -> None:
        await self.supervisor.drain()
        for task in reversed(self._tasks):
            task.cancel()
            await asyncio.wait({task}, timeout=5)
        with suppress(*DATABASE_ERRORS, asyncpg.PostgresError):
            await self.peers.leave()

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        return self._loop.create_task(work, context=self.machine.context())


async def _no_quota(project_id: str) -> None:
    """Every project may store as much as it wants."""
