"""`scripts/bench restart`: how long a start takes, and how soon runs go on after a kill.

The database and a model server run already, so it is the time of the server alone. `× imports` compares its CPU time
with that of a Python that only imports aiohttp, asyncpg and pydantic, in the same run.

    start        a server without runs, started several times
    kill         after `kill -9` with STREAMING runs that stream: ready, and then all runs claimed
    backlog      after `kill -9` with many runs that wait: ready, and then all of them claimed
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import signal
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import orjson
import uvloop
from rich.console import Console
from rich.table import Table

from scripts.bench_client import EverthreadClient
from scripts.bench_postgres import BenchPostgres
from scripts.bench_processes import Server, run_server, temporary_home
from scripts.bench_targets import KEY

STREAMING = 20
WAITING = 1_000
STARTS = 5
POLL_S = 0.02
WAIT_S = 300.0
# Requests that create runs at the same time.
CREATING = 8
IMPORTS = "import aiohttp.web, asyncpg, pydantic, uvloop"
_PROCESSES = "SELECT DISTINCT process FROM active_runs WHERE process IS NOT NULL"
_CLAIMED = "SELECT count(*) FROM active_runs WHERE NOT process = ANY ($1::integer[])"
_UNCLAIMED = "SELECT count(*) FROM active_runs WHERE process IS NULL OR process = ANY ($1::integer[])"


@dataclass(frozen=True, slots=True)
class Start:
    """A start: seconds until the server is ready, its CPU time until then, and seconds until all runs were claimed."""

    ready: float
    cpu: float
    claimed: float = 0.0


class Restarts:
    """Starts servers one after another over the same database."""

    def __init__(
        self, postgres: BenchPostgres, model_url: str, home: Path, db: asyncpg.Connection[Any], console: Console
    ) -> None:
        self._postgres = postgres
        self._model_url = model_url
        self._home = home
        self._db = db
        self._console = console
        # The processes that were killed.
        self._dead: list[int] = []

    @asynccontextmanager
    async def start(self, max_runs: int) -> AsyncIterator[tuple[Server, Start]]:
        """Starts a server, which is killed at the end."""
        began = time.perf_counter()
        async with run_server(
            "OPENAI_BASE_URL=",
            *("-m", "service.cli", "serve", "--port", "0"),
            EVERTHREAD_API_KEY=KEY,
            EVERTHREAD_CODE_INTERPRETER="off",
            EVERTHREAD_DATA_DIR=str(self._home / "data"),
            EVERTHREAD_DATABASE_URL=self._postgres.url("everthread"),
            EVERTHREAD_LOG_LEVEL="error",
            EVERTHREAD_MAX_RUNS=str(max_runs),
            EVERTHREAD_MODEL_BASE_URL=self._model_url,
        ) as server:
            start = Start(time.perf_counter() - began, server.cpu())
            try:
                yield server, start
            finally:
                server.process.send_signal(signal.SIGKILL)

    async def start_empty(self) -> Start:
        async with self.start(max_runs=64) as (_, start):
            return start

    async def kill(self, runs: int, max_runs: int) -> Start:
        """Creates runs on a server that carries out at most `max_runs`, kills it, and starts another one."""
        self._console.print(f"Creating {runs} runs …")
        await self._find_dead()
        async with self.start(max_runs) as (server, _), aiohttp.ClientSession() as http:
            await _create_runs(EverthreadClient(http, server.base_url), runs)
            await _wait_for(self._at_work, min(runs, max_runs))
        await self._find_dead()
        async with self.start(max_runs=2 * runs) as (_, start):
            began = time.perf_counter()
            await _wait_for(self._unclaimed, 0)
            claimed = time.perf_counter() - began
        return Start(start.ready, start.cpu, claimed)

    async def _find_dead(self) -> None:
        """Notes the processes that hold runs. No server runs now."""
        self._dead = [row["process"] for row in await self._db.fetch(_PROCESSES)]

    async def _at_work(self) -> int:
        return int(await self._db.fetchval(_CLAIMED, self._dead))

    async def _unclaimed(self) -> int:
        return int(await self._db.fetchval(_UNCLAIMED, self._dead))


async def _wait_for(count: Callable[[], Awaitable[int]], expected: int) -> None:
    async with asyncio.timeout(WAIT_S):
        while await count() != expected:  # noqa: ASYNC110 - the rows are those of another process
            await asyncio.sleep(POLL_S)


async def _create_runs(client: EverthreadClient, runs: int) -> None:
    """Creates threads with a run each."""
    assistant, left = await client.create_assistant("slow"), iter(range(runs))

    async def create() -> None:
        for _ in left:
            await client.start_run(await client.create_thread(1), assistant)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(CREATING):
            tasks.create_task(create())


async def _import_cpu() -> float:
    """Returns the CPU time of a Python that imports the largest packages, in seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", IMPORTS)
    await child.wait()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


async def run_bench(given: argparse.Namespace, console: Console) -> dict[str, object]:
    async with AsyncExitStack() as stack:
        home = stack.enter_context(temporary_home())
        postgres = await stack.enter_async_context(BenchPostgres.started(home))
        model = await stack.enter_async_context(run_server("listening on ", "-m", "scripts.bench_model"))
        db = await asyncpg.connect(postgres.url("everthread"))
        stack.push_async_callback(db.close)
        restarts = Restarts(postgres, model.base_url, home, db, console)
        console.print("Creating the tables …")
        await restarts.start_empty()
        starts, imports = [], []
        for _ in range(given.starts):
            imports.append(await _import_cpu())
            starts.append(await restarts.start_empty())
            console.print(f"Started in {starts[-1].ready:.2f} s.")
        report = {
            "imports_cpu": statistics.median(imports),
            "start": _median(starts),
            "kill": await restarts.kill(STREAMING, max_runs=STREAMING),
            "backlog": await restarts.kill(given.waiting, max_runs=1),
        }
    print_report(report, console)
    return report


def _median(starts: Sequence[Start]) -> Start:
    return Start(statistics.median(one.ready for one in starts), statistics.median(one.cpu for one in starts))


def print_report(report: Mapping[str, Any], console: Console) -> None:
    cpu = report["imports_cpu"]
    console.print(f"{IMPORTS}: {cpu:.2f} s of CPU time. Load of the machine: {os.getloadavg()[0]:.1f}.")
    table = Table()
    for heading in ("restart", "ready s", "CPU s", "× imports", "all claimed s later"):
        table.add_column(heading, justify="left" if heading == "restart" else "right")
    for name in ("start", "kill", "backlog"):
        start: Start = report[name]
        claimed = f"{start.claimed:.2f}" if start.claimed else "–"
        table.add_row(name, f"{start.ready:.2f}", f"{start.cpu:.2f}", f"{start.cpu / cpu:.2f}", claimed)
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="scripts/bench restart", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--starts", type=int, default=STARTS, help="starts of a server without runs")
    parser.add_argument("--waiting", type=int, default=WAITING, help="runs that wait when the server is killed")
    parser.add_argument("--json", type=Path, help="a file for the report")
    given = parser.parse_args()
    report = uvloop.run(run_bench(given, Console(width=None if sys.stdout.isatty() else 160)))
    if given.json is not None:
        given.json.write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2))


if __name__ == "__main__":
    main()
