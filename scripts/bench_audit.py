"""`scripts/bench audit`: what outbox, hashing and sequencing of the audit log cost in a plain turn at saturation.

Two servers run over databases of the same Postgres: the product, and one whose log is turned off
(scripts/bench_unlogged.py). They take turns, in the order on, off, off, on, so that a busy machine disturbs both alike.
The cost is the median over the rounds of the difference in CPU time of a turn, of the server and of Postgres.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import asyncpg
import uvloop
from rich.console import Console
from rich.table import Table

from scripts.bench_postgres import BenchPostgres
from scripts.bench_processes import Server, run_server, temporary_home
from scripts.bench_series import THREADS, WARM_UP, Series, measure, run_turns
from scripts.bench_targets import KEY, EverthreadTarget

ON, OFF = "everthread", "unlogged"
MODULES = {ON: "service.cli", OFF: "scripts.bench_unlogged"}
ROUNDS = 8
SECONDS = 6.0
CLIENTS = 64
GOALS = {"server_cpu_ms": 10, "postgres_cpu_ms": 15}


@dataclass(frozen=True, slots=True)
class Pair:
    """The two servers and their Postgres, as `scripts.bench_series.measure` needs them."""

    postgres: BenchPostgres
    targets: dict[str, EverthreadTarget]
    servers: dict[str, Server]


@asynccontextmanager
async def start_pair(home: Path) -> AsyncIterator[Pair]:
    """Starts the processes, with their data in `home`, and stops them at the end."""
    async with AsyncExitStack() as stack:
        postgres = await stack.enter_async_context(BenchPostgres.started(home))
        db = await asyncpg.connect(postgres.url("postgres"))
        await db.execute(f"CREATE DATABASE {OFF}")
        await db.close()
        model = await stack.enter_async_context(run_server("listening on ", "-m", "scripts.bench_model"))
        servers = {}
        for name, module in MODULES.items():
            servers[name] = await stack.enter_async_context(
                run_server(
                    "OPENAI_BASE_URL=",
                    *("-m", module, "serve", "--port", "0"),
                    EVERTHREAD_API_KEY=KEY,
                    EVERTHREAD_CODE_INTERPRETER="off",
                    EVERTHREAD_DATA_DIR=str(home / name),
                    EVERTHREAD_DATABASE_URL=postgres.url(name),
                    EVERTHREAD_LOG_LEVEL="error",
                    EVERTHREAD_VERIFY_RUNS="0",  # the server without a log would report each thread
                    EVERTHREAD_MAX_RUNS="200",
                    EVERTHREAD_MODEL_BASE_URL=model.base_url,
                )
            )
        http = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
        targets = {name: EverthreadTarget(http, server.base_url) for name, server in servers.items()}
        yield Pair(postgres, targets, servers)


async def bench(given: argparse.Namespace) -> list[dict[str, dict[str, float]]]:
    """Returns the figures of each round, by server."""
    rounds = []
    with temporary_home() as home:
        async with start_pair(home) as pair:
            for target in pair.targets.values():
                await target.prepare(given.clients * THREADS)
                await run_turns(target, "plain", given.clients, turns=given.clients * WARM_UP)
            for number in range(given.rounds):
                order = (ON, OFF) if number % 2 == 0 else (OFF, ON)
                found = {}
                for name in order:
                    series = Series("plain", given.clients, name)
                    await measure(series, pair, given.seconds)
                    found[name] = series.figures()
                rounds.append(found)
    return rounds


def print_costs(rounds: list[dict[str, dict[str, float]]], console: Console) -> None:
    table = Table("CPU time of a turn", "log off, ms", "log on, ms", "cost", "lowest and highest", "goal")
    for figure, goal in GOALS.items():
        off, on = (statistics.median(found[name][figure] for found in rounds) for name in (OFF, ON))
        costs = sorted(100 * (found[ON][figure] / found[OFF][figure] - 1) for found in rounds)
        table.add_row(
            figure.removesuffix("_cpu_ms"),
            f"{off:.2f}",
            f"{on:.2f}",
            f"{statistics.median(costs):.0f} %",
            f"{costs[0]:.0f} to {costs[-1]:.0f} %",
            f"≤ {goal} %",
        )
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench audit", description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each server in a round")
    parser.add_argument("--clients", type=int, default=CLIENTS)
    given = parser.parse_args()
    print_costs(uvloop.run(bench(given)), Console())


if __name__ == "__main__":
    main()
