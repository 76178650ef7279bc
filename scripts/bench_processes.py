"""The processes of `scripts/bench`: the model server, the relay and Everthread, over one embedded Postgres."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import psutil

from scripts.bench_postgres import BenchPostgres
from scripts.bench_targets import KEY, EverthreadTarget, Floor, RelayTarget, Target

START_S = 60.0
STOP_S = 30.0


@dataclass(frozen=True, slots=True)
class Server:
    """A server process: its base URL, and the process."""

    base_url: str
    process: psutil.Process

    def cpu(self) -> float:
        """Returns the CPU time of the process and its workers so far, user and system, in seconds."""
        times = [process.cpu_times() for process in self._processes()]
        return float(sum(each.user + each.system for each in times))

    def pss(self) -> int:
        """Returns the memory of the process and its workers in bytes, with their shares of pages of other processes."""
        return sum(int(process.memory_full_info().pss) for process in self._processes())

    def _processes(self) -> list[psutil.Process]:
        return [self.process, *(child for child in self.process.children() if "service.cli.worker" in child.cmdline())]


@dataclass(frozen=True, slots=True)
class Bench:
    """All that takes part in a measurement. The floor has no server of its own."""

    postgres: BenchPostgres
    http: aiohttp.ClientSession
    floor: Floor
    relay: RelayTarget
    everthread: EverthreadTarget
    servers: dict[str, Server]

    @property
    def targets(self) -> dict[str, Target]:
        return {target.name: target for target in (self.floor, self.relay, self.everthread)}


def leave_main_out() -> None:
    """Keeps worker processes from importing the main module again: it is a large script here, a small one otherwise."""
    main = sys.modules["__main__"]
    main.__spec__, main.__file__ = None, None


@contextmanager
def temporary_home() -> Iterator[Path]:
    """Makes a folder that the user of the embedded Postgres may enter, and deletes it at the end."""
    with tempfile.TemporaryDirectory(prefix="everthread-bench-") as name:
        home = Path(name)
        home.chmod(0o711)
        yield home


@asynccontextmanager
async def start_bench(home: Path, *, workers: str = "1") -> AsyncIterator[Bench]:
    """Starts the processes, with their data in `home`, and stops them at the end. Everthread has so many workers."""
    async with AsyncExitStack() as stack:
        postgres = await stack.enter_async_context(BenchPostgres.started(home))
        model = await stack.enter_async_context(run_server("listening on ", "-m", "scripts.bench_model"))
        relay = await stack.enter_async_context(
            run_server(
                "listening on ",
                *("-m", "scripts.bench_relay"),
                RELAY_DSN=postgres.url("relay"),
                RELAY_MODEL_URL=model.base_url,
            )
        )
        everthread = await stack.enter_async_context(
            run_server(
                "OPENAI_BASE_URL=",
                *("-m", "service.cli", "serve", "--port", "0"),
                EVERTHREAD_API_KEY=KEY,
                EVERTHREAD_CODE_INTERPRETER="off",
                EVERTHREAD_DATA_DIR=str(home / "data"),
                EVERTHREAD_DATABASE_URL=postgres.url("everthread"),
                EVERTHREAD_LOG_LEVEL="error",
                EVERTHREAD_MAX_RUNS="200",
                EVERTHREAD_MODEL_BASE_URL=model.base_url,
                EVERTHREAD_WORKERS=workers,
            )
        )
        http = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
        yield Bench(
            postgres=postgres,
            http=http,
            floor=Floor(http, model.base_url),
            relay=RelayTarget(http, relay.base_url),
            everthread=EverthreadTarget(http, everthread.base_url),
            servers={"relay": relay, "everthread": everthread},
        )


@asynccontextmanager
async def run_server(mark: str, *arguments: str, **environment: str) -> AsyncIterator[Server]:
    """Runs Python with these arguments. The server is ready when it prints a line with `mark` and its base URL."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("EVERTHREAD_")}
    child = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, env={**inherited, **environment}, stdout=asyncio.subprocess.PIPE
    )
    try:
        base_url = await asyncio.wait_for(_base_url(child, mark), START_S)
        yield Server(base_url, psutil.Process(child.pid))
    finally:
        if child.returncode is None:
            child.terminate()
        await asyncio.wait_for(child.wait(), STOP_S)


async def _base_url(child: asyncio.subprocess.Process, mark: str) -> str:
    assert child.stdout is not None
    async for line in child.stdout:
        if mark.encode() in line:
            return line.decode().split(mark, 1)[1].strip().strip("'\"")
    raise SystemExit("a server of the bench did not start")
