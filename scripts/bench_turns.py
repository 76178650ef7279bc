"""The cost of a plain turn: a streamed run with one answer of 64 tokens.

The floor and Everthread are measured in turn in the same run, by the same client, against the same scripted model
server. Only the ratios count, since client, model server, Postgres and Everthread share the cores of one machine.

    turns/s     finished turns over the time of the measurement
    first token from sending the request to the first piece of text, median and 90th percentile, ms
    CPU a turn  user + system time of the server process alone, and of Postgres, ms
    memory      resident set of the server process after the load, MB
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import orjson
import psutil
import uvloop

KEY = "sk-bench"
TOKENS = 64
STARTUP_S = 60.0
TURN_S = 60.0
HEADERS = {"Authorization": f"Bearer {KEY}", "OpenAI-Beta": "assistants=v2", "Content-Type": "application/json"}

Turn = Callable[[], Awaitable[float]]


@dataclass(frozen=True, slots=True)
class Measured:
    """One series of measurements. Times are in seconds; `first` holds the time to the first token of each turn."""

    turns: int
    seconds: float
    first: list[float]
    server_cpu: float
    postgres_cpu: float
    memory: int

    @property
    def rate(self) -> float:
        return self.turns / self.seconds

    def first_ms(self, share: float) -> float:
        return sorted(self.first)[min(len(self.first) - 1, int(len(self.first) * share))] * 1000


async def _until_first(response: aiohttp.ClientResponse, mark: bytes, started: float) -> float:
    """Reads the stream to its end, and returns the seconds until `mark` first arrived."""
    first, seen = 0.0, b""
    async for chunk in response.content.iter_any():
        if not first:
            seen += chunk
            if mark in seen:
                first = time.perf_counter() - started
    assert first, seen[-500:]
    return first


def floor(session: aiohttp.ClientSession, model_url: str) -> Turn:
    body = orjson.dumps(
        {"model": "bench", "stream": True, "messages": [{"role": "user", "content": "Tell me something."}]}
    )

    async def turn() -> float:
        started = time.perf_counter()
        async with session.post(f"{model_url}/chat/completions", data=body, headers=HEADERS) as response:
            return await _until_first(response, b'"content":"', started)

    return turn


def everthread(session: aiohttp.ClientSession, base_url: str, assistant_id: str) -> Turn:
    body = orjson.dumps(
        {
            "assistant_id": assistant_id,
            "stream": True,
            "thread": {"messages": [{"role": "user", "content": "Tell me something."}]},
        }
    )

    async def turn() -> float:
        started = time.perf_counter()
        async with session.post(f"{base_url}/threads/runs", data=body, headers=HEADERS) as response:
            return await _until_first(response, b"thread.message.delta", started)

    return turn


async def measure(turn: Turn, clients: int, seconds: float, server: psutil.Process | None) -> Measured:
    """Runs `turn` in `clients` loops for about `seconds`."""
    first: list[float] = []
    started = time.perf_counter()
    before, postgres_before = _cpu(server), _postgres_cpu(server)

    async def loop() -> None:
        while time.perf_counter() - started < seconds:
            first.append(await asyncio.wait_for(turn(), TURN_S))

    await asyncio.gather(*(loop() for _ in range(clients)))
    return Measured(
        turns=len(first),
        seconds=time.perf_counter() - started,
        first=first,
        server_cpu=_cpu(server) - before,
        postgres_cpu=_postgres_cpu(server) - postgres_before,
        memory=server.memory_info().rss if server else 0,
    )


def _cpu(process: psutil.Process | None) -> float:
    if process is None:
        return 0.0
    times = process.cpu_times()
    return float(times.user + times.system)


def _postgres_cpu(server: psutil.Process | None) -> float:
    """Returns the CPU time of all Postgres processes of the server. The time of a backend that ends is lost, but pools
    keep their backends.
    """
    if server is None:
        return 0.0
    total = 0.0
    for child in server.children(recursive=True):
        try:
            if "postgres" in child.name():
                total += _cpu(child)
        except psutil.NoSuchProcess:
            continue
    return total


@contextmanager
def _process(*command: str, mark: str, **environment: str) -> Iterator[tuple[str, int]]:
    """Starts a child process, and yields the rest of its first line that holds `mark`, and its pid."""
    child = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}, stderr=subprocess.DEVNULL
    )
    try:
        assert child.stdout is not None
        deadline = time.monotonic() + STARTUP_S
        for line in child.stdout:
            if mark in line:
                yield line.split(mark, 1)[1].strip(), child.pid
                return
            if time.monotonic() > deadline:
                break
        raise SystemExit(f"{command} did not start")
    finally:
        child.terminate()
        child.wait(30)


def _row(name: str, measured: Measured, under: Measured) -> str:
    later = statistics.median(measured.first) - statistics.median(under.first)
    cpu = f"{measured.server_cpu / measured.turns * 1000:6.2f}" if measured.server_cpu else "     –"
    pg = f"{measured.postgres_cpu / measured.turns * 1000:6.2f}" if measured.server_cpu else "     –"
    memory = f"{measured.memory / 1e6:5.0f}" if measured.memory else "    –"
    return (
        f"{name:<12}{measured.rate:9.1f}{measured.rate / under.rate:8.2f}{measured.first_ms(0.5):9.1f}"
        f"{measured.first_ms(0.9):8.1f}{later * 1000:9.1f}{cpu:>9}{pg:>9}{memory:>7}"
    )


async def _run(model_url: str, base_url: str, pid: int, seconds: float, counts: list[int]) -> None:
    server = psutil.Process(pid)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        async with session.post(
            f"{base_url}/assistants", data=orjson.dumps({"model": "bench"}), headers=HEADERS
        ) as response:
            assistant = await response.json()
        straight = floor(session, model_url)
        through = everthread(session, base_url, assistant["id"])
        await measure(through, 4, 1.0, server)
        for clients in counts:
            under = await measure(straight, clients, seconds, None)
            over = await measure(through, clients, seconds, server)
            print(f"\n{clients} client{'s' if clients > 1 else ''}, {TOKENS} tokens a turn")
            print("              turns/s  of floor  first ms    p90  later ms  CPU/turn  PG/turn  MB")
            print(_row("floor", under, under))
            print(_row("everthread", over, under), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=8.0, help="for each series")
    parser.add_argument("--clients", type=int, nargs="*", default=[1, 16, 64])
    parser.add_argument("--base-url", help="measure a server that runs already (its model must be the scripted one)")
    given = parser.parse_args()
    python = sys.executable
    with tempfile.TemporaryDirectory() as home:
        Path(home).chmod(0o711)
        scripted = _process(python, "-m", "tests.scripted", "--tokens", str(TOKENS), mark="listening on ")
        with scripted as (model_url, _):
            served = _process(
                str(Path(python).with_name("everthread")),
                "serve",
                "--port",
                "0",
                mark="OPENAI_BASE_URL=",
                EVERTHREAD_DATA_DIR=f"{home}/data",
                EVERTHREAD_API_KEY=KEY,
                EVERTHREAD_MODEL_BASE_URL=model_url,
                EVERTHREAD_MAX_RUNS="200",
            )
            with served as (base_url, pid):
                uvloop.run(_run(model_url, base_url.strip("'\""), pid, given.seconds, given.clients))


if __name__ == "__main__":
    main()
