"""Series of turns: the loops of clients, and the times and CPU times that they give."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from scripts.bench_postgres import BenchPostgres, cpu_between
from scripts.bench_processes import Bench, Server
from scripts.bench_targets import Target, TurnTimes

TURN_S = 60.0
# Threads for each client, so that histories stay short.
THREADS = 4
# Turns of each client before the first measurement.
WARM_UP = 2


@dataclass(slots=True)
class Series:
    """All turns of one kind of one target with a number of clients. Times are in seconds."""

    kind: str
    clients: int
    target: str
    seconds: float = 0.0
    server_cpu: float = 0.0
    postgres_cpu: float = 0.0
    times: list[TurnTimes] = field(default_factory=list)

    @property
    def key(self) -> str:
        return f"{self.kind}/{self.clients}/{self.target}"

    def figures(self) -> dict[str, float]:
        """Returns the figures of the series: times in ms, CPU times in ms a turn."""
        turns = len(self.times)
        return {
            "turns": turns,
            "rate": turns / self.seconds,
            "first_ms_p50": _quantile([one.first for one in self.times], 0.5),
            "first_ms_p90": _quantile([one.first for one in self.times], 0.9),
            "turn_ms_p50": _quantile([one.whole for one in self.times], 0.5),
            "server_cpu_ms": self.server_cpu / turns * 1000,
            "postgres_cpu_ms": self.postgres_cpu / turns * 1000,
        }


async def warm_up(bench: Bench, clients: int) -> None:
    """Opens the connections, and makes the threads, that series with so many clients use."""
    for target in bench.targets.values():
        await target.prepare(clients * THREADS)
        await run_turns(target, "tool", clients, turns=clients * WARM_UP)


async def measure(series: Series, bench: Bench, seconds: float) -> None:
    """Adds turns to the series for about `seconds`."""
    target, server = bench.targets[series.target], bench.servers.get(series.target)
    cpu, postgres_cpu = _cpu(server), await _postgres_cpu(bench.postgres, series.target)
    began = time.perf_counter()
    series.times += await run_turns(target, series.kind, series.clients, seconds=seconds)
    series.seconds += time.perf_counter() - began
    series.server_cpu += _cpu(server) - cpu
    series.postgres_cpu += cpu_between(postgres_cpu, await _postgres_cpu(bench.postgres, series.target))


async def run_turns(
    target: Target, kind: str, clients: int, *, turns: int | None = None, seconds: float = 3600.0
) -> list[TurnTimes]:
    """Runs turns in `clients` loops until `turns` have begun or `seconds` have passed."""
    times: list[TurnTimes] = []
    end = time.perf_counter() + seconds
    left = iter(range(turns)) if turns is not None else iter(int, 1)

    async def loop() -> None:
        while time.perf_counter() < end and next(left, None) is not None:
            times.append(await asyncio.wait_for(target.turn(kind), TURN_S))

    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(loop())
    return times


def _cpu(server: Server | None) -> float:
    return server.cpu() if server is not None else 0.0


async def _postgres_cpu(postgres: BenchPostgres, target: str) -> dict[int, float]:
    return await postgres.cpu(target) if target != "floor" else {}


def _quantile(values: list[float], share: float) -> float:
    """Returns a quantile of times, in ms."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] * 1000
