"""A simulated world: runs a scenario to its end, and returns its history.

After the clients have finished, all faults end, and the world waits until nothing is left to do, or until it is sure
that somebody forgot something.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import random as global_random
import sys
import time
import traceback
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from random import Random
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import structlog

from events.envelope import RecordedEvent
from events.file import CreateFile
from events.streams import WEBHOOK_ENDPOINT
from events.webhook_endpoint import WEBHOOK_EVENTS, CreateEndpoint
from projections import webhooks
from service.processes import peers
from service.runs.model_call import ModelCaller
from service.webhooks import couriers
from tests.simulation.clients import FILES, ORIGIN, Clients, Request
from tests.simulation.outside import OutsideWorld, perform_noted
from tests.simulation.process import ConnectionLost, SimulatedProcess, virtual_monotonic
from tests.simulation.scenario import Fault, Scenario
from tests.simulation.store import Store
from tests.simulation.virtual_loop import Livelock, Machine, Stuck, VirtualLoop, discard

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
MAX_TIME_S = 400.0
MAX_CALLBACKS = 400_000
# Seconds after which a process that ended is started again, and that the world waits for the end of all work.
RESTART_AFTER_S = 0.6
SETTLED_WITHIN_S = 75.0
LOOK_EVERY_S = 0.2
ENDPOINT = "we_1"


@dataclass(slots=True)
class History:
    """The facts about a world that has ended. `streams` has the versions that each reader of a stream saw, by thread.

    `errors` are the errors that the server logged with a traceback, `stuck` is the reason if the world did not end.
    """

    scenario: Scenario
    store: Store
    outside: OutsideWorld
    requests: list[Request] = field(default_factory=list)
    streams: dict[str, list[list[int]]] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    stuck: str | None = None
    seconds: float = 0.0
    callbacks: int = 0


def simulate(scenario: Scenario) -> History:
    """Runs a scenario. The program must be `prepared`."""
    loop = VirtualLoop(Random(f"{scenario.seed} turns"), max_time_s=MAX_TIME_S, max_callbacks=MAX_CALLBACKS)
    global_random.seed(scenario.seed)
    world = World(scenario, loop)
    history = world.history
    _errors.append(history.errors)
    loop.set_exception_handler(partial(_note_callback, history.errors))
    gc.disable()
    try:
        loop.run_until_complete(world.run())
    except (Stuck, Livelock) as error:
        history.stuck = f"{type(error).__name__}: {error}"
    finally:
        _errors.remove(history.errors)
        history.seconds, history.callbacks = loop.time(), loop.callbacks
        for machine in world.all_machines:
            for task in machine.tasks:
                task._log_destroy_pending = False  # type: ignore[attr-defined]
        discard(loop)
        _OPENERS.clear()
        _worlds.append(world)
        if len(_worlds) >= _KEPT_WORLDS:
            _worlds.clear()
            gc.collect()
        gc.enable()
    return history


# Worlds that have ended are deleted together: their coroutines end then, in no order.
_KEPT_WORLDS = 20
_worlds: list[World] = []
_errors: list[list[str]] = []
_OPENERS: dict[str, Callable[[], Any]] = {}


async def _connect(url: str, *, command_timeout_s: float | None = None) -> Any:
    """Takes the place of `service.database.connect`. The URL is the name of a process."""
    return await _OPENERS[url]()


def _note_callback(errors: list[str], loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Notes an error that a callback raised. Others are those of answers that nobody waits for any more."""
    if "handle" in context:
        errors.append("".join(traceback.format_exception(context["exception"])))


def _note_error(logger: Any, method: str, event: MutableMapping[str, Any]) -> Any:
    """Notes the errors that are logged with a traceback, and drops all entries of the log."""
    if event.get("exc_info") and _errors:
        trace = "".join(traceback.format_exception(sys.exception())) if sys.exception() else ""
        _errors[-1].append(f"{event['event']}\n{trace}")
    raise structlog.DropEvent


@contextmanager
def prepared() -> Iterator[None]:
    """Lets the program run simulations: replaces the sources of time, randomness and connections.

    The log stays silent for the rest of the program.
    """
    gc.collect()
    gc.freeze()  # collections look at the objects of worlds only
    monotonic = time.monotonic
    modules = [
        module
        for name, module in sys.modules.items()
        if name.startswith(("service.", "projections.", "events.")) and getattr(module, "monotonic", None) is monotonic
    ]
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(40),
        processors=[_note_error],
        cache_logger_on_first_use=False,
    )
    seeded = SimpleNamespace(SystemRandom=lambda: global_random)
    with ExitStack() as stack:
        for module in modules:
            stack.enter_context(patch.object(module, "monotonic", virtual_monotonic))
        stack.enter_context(patch.object(peers, "connect", _connect))
        stack.enter_context(patch.object(ModelCaller, "perform", perform_noted))
        stack.enter_context(patch.object(couriers, "random", seeded))
        yield
    _worlds.clear()
    gc.unfreeze()


class World:
    """The processes and clients of a scenario."""

    def __init__(self, scenario: Scenario, loop: VirtualLoop) -> None:
        self._scenario = scenario
        self._loop = loop
        self._database = loop.add_machine("database")
        self._store = Store(BEGAN, loop.time)
        random = Random(f"{scenario.seed} outside")
        self._outside = OutsideWorld(random, self._store, is_tool_repeatable=scenario.is_tool_repeatable)
        self.history = History(scenario, self._store, self._outside)
        self._clients = Clients(self, scenario.seed)
        self.history.requests = self._clients.requests
        self._processes: list[SimulatedProcess] = []
        self.all_machines: list[Machine] = [loop.outside, self._database]
        self._numbers = itertools.count(1)
        self._is_away = False
        self._has_ended = False
        self._outside.replies = {f"m{each.number}": each.replies for each in scenario.commands}

    def any_process(self, random: Random) -> SimulatedProcess | None:
        """Returns a process that accepts requests."""
        found = [process for process in self._processes if process.accepts_requests]
        return random.choice(found) if found else None

    async def run(self) -> None:
        """Runs the scenario, and waits for the end of all work."""
        for _ in range(self._scenario.processes):
            self._start_process(epoch=0)
        while not all(process.has_started for process in self._processes):
            await asyncio.sleep(0.01)
        await self._set_up()
        faults = [asyncio.ensure_future(self._carry_out(fault)) for fault in self._scenario.faults]
        keeper = asyncio.ensure_future(self._keep_processes())
        readers = [asyncio.ensure_future(self._read_stream(thread)) for thread in self._scenario.watched]
        clients = sorted({command.client for command in self._scenario.commands})
        await asyncio.gather(
            *(
                self._clients.carry_out([each for each in self._scenario.commands if each.client == client])
                for client in clients
            )
        )
        await asyncio.gather(*faults)
        until = self._loop.time() + SETTLED_WITHIN_S
        while not self._is_settled() and self._loop.time() < until:
            await asyncio.sleep(LOOK_EVERY_S)
        self._has_ended = True
        for task in (keeper, *readers):
            task.cancel()
        for process in self._processes:
            if process.error is not None:
                self.history.errors.append("".join(traceback.format_exception(process.error)))

    def _start_process(self, epoch: int) -> SimulatedProcess:
        name = f"process {next(self._numbers)}"
        process = SimulatedProcess(
            name,
            self._loop,
            self._store,
            self._outside,
            self._scenario,
            database=self._database,
            epoch=epoch,
        )
        process.is_unreachable = lambda: self._is_away
        _OPENERS[name] = process.connect
        self.all_machines.append(process.machine)
        self._processes.append(process)
        process.start()
        return process

    async def _set_up(self) -> None:
        """Creates what clients need: files, and an endpoint of webhooks."""
        process = self._processes[0]
        if any(command.kind == "index" for command in self._scenario.commands):
            for file_id in FILES:
                file = CreateFile(f"{file_id}.txt", "assistants", 10, "0" * 64, "text/plain", None, file_id)
                await process.request(process.writer.file(ORIGIN, file_id, file))
        if self._scenario.has_webhooks:

            async def create_endpoint() -> None:
                async with process.pool.acquire() as db:
                    await webhooks.prepare_secret(db, ENDPOINT, "whsec_c2VjcmV0")
                command = CreateEndpoint("https://example.com", None, tuple(WEBHOOK_EVENTS.values()))
                await process.writer.write(WEBHOOK_ENDPOINT, ORIGIN, ENDPOINT, command)

            await process.request(create_endpoint())

    async def _keep_processes(self) -> None:
        """Starts processes for those that died, as a service manager does."""
        while True:
            await asyncio.sleep(RESTART_AFTER_S)
            for process in [each for each in self._processes if not each.is_alive]:
                self._processes.remove(process)
                self._start_process(epoch=self._store.view_epoch)

    async def _carry_out(self, fault: Fault) -> None:
        await asyncio.sleep(fault.at_s)
        process = self._processes[fault.process % len(self._processes)]
        match fault.kind:
            case "crash":
                process.crash()
            case "crash_before_append" | "crash_after_append" | "lose_append" | "lose_answer":
                process.network.plan(fault.kind, fault.count)
            case "freeze":
                self._loop.freeze(process.machine, fault.seconds)
            case "slow":
                process.machine.pause_s = fault.seconds
                await asyncio.sleep(2.0)
                process.machine.pause_s = 0.0
            case "cut":
                process.cut()
            case "stop":
                await self._stop(process)
            case "lose_wakeups" | "double_wakeups":
                process.network.copies_of_wakeups = 0 if fault.kind == "lose_wakeups" else 2
                await asyncio.sleep(fault.seconds)
                process.network.copies_of_wakeups = 1
            case "clock":
                process.clock.jump(fault.seconds)
            case "database_freeze":
                await self._freeze_database(fault.seconds)
            case "database_restart":
                await self._restart_database(fault.seconds)
            case "upgrade":
                await self._upgrade()

    async def _stop(self, process: SimulatedProcess) -> None:
        try:
            async with asyncio.timeout(20):
                await process.stop()
        except (TimeoutError, ConnectionLost):
            process.crash()

    async def _freeze_database(self, seconds: float) -> None:
        self._loop.freeze(self._database, seconds)
        for is_frozen in (True, False):
            for process in self._processes:
                process.let_wait(is_frozen=is_frozen)
            if is_frozen:
                await asyncio.sleep(seconds)

    async def _restart_database(self, seconds: float) -> None:
        self._is_away = True
        for process in self._processes:
            process.cut()
        await asyncio.sleep(seconds)
        self._store.started_at = self._store.now()
        self._is_away = False

    async def _upgrade(self) -> None:
        """Starts a process of newer software, which begins an epoch of views. The old ones are stopped later."""
        old = list(self._processes)
        self._start_process(epoch=self._store.view_epoch + 1)
        await asyncio.sleep(0.3)
        self._store.view_epoch += 1
        await asyncio.sleep(2.0)
        for process in old:
            if process.is_alive:
                await self._stop(process)

    async def _read_stream(self, thread: int) -> None:
        """Reads the stream of a thread, and goes on at another process if it breaks."""
        random = Random(f"{self._scenario.seed} reader {thread}")
        while thread not in self._clients.threads:
            await asyncio.sleep(0.05)
        thread_id = self._clients.threads[thread]
        seen: list[int] = []
        self.history.streams.setdefault(thread_id, []).append(seen)

        def see(entry: RecordedEvent[Any]) -> None:
            seen.append(entry.version)

        while True:
            process = self.any_process(random)
            if process is not None:
                with suppress(ConnectionLost):
                    await process.request(process.follow(thread_id, seen[-1] if seen else 0, see))
            await asyncio.sleep(0.1)

    def _is_settled(self) -> bool:
        """Whether nothing is left to do: no run, no file, no message of a webhook, nothing to seal or to show."""
        store = self._store
        if store.pending or store.deliveries or any(store.rows("active_runs")):
            return False
        if any(row["status"] == "in_progress" for row in store.rows("vector_store_files")):
            return False
        heads = {id: stream.head["version"] for id, stream in store.streams.items()}
        return all(
            seen and seen[-1] >= heads[thread_id]
            for thread_id, readers in self.history.streams.items()
            for seen in readers
        )
