"""`scripts/bench growth`: what a long thread and many watchers cost.

A thread of many messages is measured beside threads of ten, by turns in the same run: an append (POST of a message),
the newest page of messages, and a run whose prompt has ten messages. Only the ratios count.

Watchers of one run are measured beside those of a bare fan-out (scripts/bench_fanout.py): all clients read the same
paced stream. `pieces/CPU s` is the rate of a server that has a core for itself. The client shares the cores.
"""

from __future__ import annotations

import argparse
import itertools
import resource
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import asyncpg
import orjson
import uvloop
from rich.console import Console
from rich.table import Table

from events import event_log
from events.actors import CommandLineActor
from events.envelope import Origin
from events.event_log import number_events
from events.streams import THREAD
from events.thread.events import MessageAdded
from projections.append import Append, append
from scripts.bench_client import EverthreadClient
from scripts.bench_model import TOKENS
from scripts.bench_postgres import cpu_between
from scripts.bench_processes import Bench, run_server, start_bench, temporary_home
from scripts.bench_targets import TEXT
from scripts.bench_watchers import WatcherRates, watch
from service.system import RandomIds, SystemClock
from service.writer.stream_state import load_state

MESSAGES = 100_000
SHORT = 10
# Short threads in rotation, so that they stay short.
SHORT_THREADS = 20
WATCHERS = 1_000
# Events of one append that fills a thread.
FILL_BATCH = 1_000
BLOCKS = 10
BLOCK = {"append": 20, "page": 20, "prompt": 6}
GOAL = 1.5
GOAL_PIECES = 40_000
_FILES = 8_192

Act = Callable[[str], Awaitable[object]]


@dataclass(slots=True)
class Cost:
    """The times of one operation in seconds, and the CPU time of server and Postgres for all of them."""

    times: list[float] = field(default_factory=list)
    server_cpu: float = 0.0
    postgres_cpu: float = 0.0

    def figures(self) -> dict[str, float]:
        """Returns the median time and the CPU times of one operation, in ms."""
        count = len(self.times)
        return {
            "ms_p50": statistics.median(self.times) * 1000,
            "server_cpu_ms": self.server_cpu / count * 1000,
            "postgres_cpu_ms": self.postgres_cpu / count * 1000,
        }


async def fill_thread(bench: Bench, thread_id: str, messages: int) -> None:
    """Adds messages to a thread, many with one append."""
    ids, clock = RandomIds(), SystemClock()
    db = await asyncpg.connect(bench.postgres.url("everthread"))
    try:
        head = await event_log.head(db, thread_id, THREAD)
        state = await load_state(db, THREAD, thread_id, head)
        origin = Origin(project_id=head.project_id or "", actor=CommandLineActor())
        while messages > 0:
            batch = [_message(ids.new("msg")) for _ in range(min(messages, FILL_BATCH))]
            recorded = number_events(thread_id, head.version, batch, clock.now(), origin)
            before = state
            for entry in recorded:
                state = THREAD.evolve(state, entry)
            head = await append(db, Append(THREAD, thread_id, head, recorded, before, state), ids=ids)
            messages -= len(batch)
        await db.execute("VACUUM ANALYZE")
    finally:
        await db.close()


def _message(id: str) -> MessageAdded:
    content = [{"type": "text", "text": {"value": TEXT, "annotations": []}}]
    return MessageAdded(message_id=id, role="user", content=content, attachments=[], metadata={})


async def measure_threads(
    bench: Bench, client: EverthreadClient, messages: int, console: Console
) -> dict[str, dict[str, Cost]]:
    """Returns the costs of each operation on a long thread and on short ones."""
    assistant = await client.create_assistant("plain")
    long = await client.create_thread(SHORT)
    console.print(f"Filling a thread with {messages} messages …")
    await fill_thread(bench, long, messages - SHORT)
    short = itertools.cycle([await client.create_thread(SHORT) for _ in range(SHORT_THREADS)])
    acts: dict[str, Act] = {
        "append": client.add_message,
        "page": client.read_newest_page,
        "prompt": lambda thread: client.run(thread, assistant, last_messages=SHORT),
    }
    costs = {name: {"long": Cost(), "short": Cost()} for name in acts}
    for name, act in acts.items():
        for _ in range(SHORT_THREADS):  # so that heads and histories are cached
            await act(next(short))
        await act(long)
        for _ in range(BLOCKS):
            await _measure_block(costs[name]["short"], bench, act, short, BLOCK[name])
            await _measure_block(costs[name]["long"], bench, act, itertools.repeat(long), BLOCK[name])
    return costs


async def _measure_block(cost: Cost, bench: Bench, act: Act, threads: Iterator[str], count: int) -> None:
    server = bench.servers["everthread"]
    cpu, postgres = server.cpu(), await bench.postgres.cpu("everthread")
    for thread in itertools.islice(threads, count):
        began = time.perf_counter()
        await act(thread)
        cost.times.append(time.perf_counter() - began)
    cost.server_cpu += server.cpu() - cpu
    cost.postgres_cpu += cpu_between(postgres, await bench.postgres.cpu("everthread"))


async def measure_watchers(
    bench: Bench, client: EverthreadClient, watchers: int, rounds: int
) -> dict[str, WatcherRates]:
    """Returns the rates of the bare fan-out and of Everthread, measured by turns."""
    assistant = await client.create_assistant("paced")
    rates = {"fan-out": WatcherRates(watchers), "everthread": WatcherRates(watchers)}
    async with run_server("listening on ", "-m", "scripts.bench_fanout") as fanout:
        for _ in range(rounds):
            start = f"{fanout.base_url}/start"
            await watch(rates["fan-out"], fanout, f"{fanout.base_url}/stream", partial(client.start_fanout, start))
            thread = await client.create_thread(1)
            await watch(
                rates["everthread"],
                bench.servers["everthread"],
                f"{client.base_url}/threads/{thread}/stream",
                partial(client.start_run, thread, assistant),
            )
    return rates


def print_threads(costs: dict[str, dict[str, Cost]], messages: int, console: Console) -> None:
    table = Table(title=f"A thread of {messages} messages beside threads of {SHORT}", title_justify="left")
    for heading in ("operation", "thread", "ms p50", "server CPU ms", "Postgres CPU ms"):
        table.add_column(heading, justify="left" if heading in ("operation", "thread") else "right")
    for name, by_length in costs.items():
        short, long = by_length["short"].figures(), by_length["long"].figures()
        for length, figures in (("short", short), ("long", long)):
            table.add_row(name, length, *(f"{value:.2f}" for value in figures.values()))
        ratios = [long[key] / short[key] for key in short]
        style = "red" if max(ratios[1:]) > GOAL else "green"
        table.add_row(name, f"ratio (goal {GOAL})", *(f"{ratio:.2f}" for ratio in ratios), style=style)
    console.print(table)


def print_watchers(rates: dict[str, WatcherRates], console: Console) -> None:
    watchers = rates["everthread"].watchers
    table = Table(title=f"{watchers} watchers, {TOKENS} pieces each", title_justify="left")
    for heading in ("server", "pieces/s", "pieces/CPU s", "µs CPU/piece", "× fan-out"):
        table.add_column(heading, justify="left" if heading == "server" else "right")
    bare = rates["fan-out"].per_cpu_s
    for name, rate in rates.items():
        cpu = f"{rate.per_cpu_s:.0f}"
        table.add_row(name, f"{rate.per_s:.0f}", cpu, f"{1e6 / rate.per_cpu_s:.1f}", f"{bare / rate.per_cpu_s:.2f}")
    console.print(table)
    console.print(f"The goal is {GOAL_PIECES} pieces a second in all.")


async def _run(given: argparse.Namespace, console: Console) -> dict[str, object]:
    report: dict[str, object] = {"messages": given.messages, "watchers": given.watchers}
    with temporary_home() as home:
        async with start_bench(home) as bench:
            client = EverthreadClient(bench.http, bench.servers["everthread"].base_url)
            if given.messages:
                costs = await measure_threads(bench, client, given.messages, console)
                print_threads(costs, given.messages, console)
                report["threads"] = {n: {k: c.figures() for k, c in by.items()} for n, by in costs.items()}
            if given.watchers:
                rates = await measure_watchers(bench, client, given.watchers, given.rounds)
                print_watchers(rates, console)
                report["pieces_per_cpu_s"] = {name: rate.per_cpu_s for name, rate in rates.items()}
                report["pieces_per_s"] = {name: rate.per_s for name, rate in rates.items()}
    return report


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="scripts/bench growth", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--messages", type=int, default=MESSAGES, help="of the long thread; 0 measures no threads")
    parser.add_argument("--watchers", type=int, default=WATCHERS, help="of one run; 0 measures no watchers")
    parser.add_argument("--rounds", type=int, default=3, help="runs that are watched")
    parser.add_argument("--json", type=Path, help="a file for the report")
    given = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(_FILES, hard), hard))
    report = uvloop.run(_run(given, Console(width=None if sys.stdout.isatty() else 160)))
    if given.json is not None:
        given.json.write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2))


if __name__ == "__main__":
    main()
