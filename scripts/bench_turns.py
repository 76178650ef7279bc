"""`scripts/bench turns`: the cost of a turn, through Everthread, through a minimal relay, and without either (floor).

All three are measured in turn in the same run, by the same client process, on the same scripted model server and the
same Postgres. Client, model server, Postgres and server share the cores of one machine, so only the ratios count.

    turns/s     finished turns over the time of the measurement
    first ms    from the request for the run to the first piece of text, median and 90th percentile
    turn ms     the whole turn with its message, median
    CPU ms      user + system time a turn: of the server's process, and of the Postgres processes of its database
    statements  executed by Postgres in a turn with one client, counted in its log
    PSS         memory of the server's process after the load

docs/performance.md explains the figures.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import uvloop
from rich.console import Console
from rich.progress import Progress

from scripts.bench_model import KINDS
from scripts.bench_processes import Bench, start_bench, temporary_home
from scripts.bench_report import TARGETS, Report, print_comparison, print_report
from scripts.bench_series import Series, measure, run_turns, warm_up
from scripts.bench_targets import EverthreadTarget

CLIENTS = (1, 16, 64)
ROUNDS = 3
SECONDS = 4.0
QUICK_SECONDS = 1.5
# Paced turns take 1.3 s, so that their series need more time.
PACED_FACTOR = 1.5
COUNTED_TURNS = 20
WARM_UP_TURNS = 5  # before the statements are counted, so that caches are filled
# Clients of the turns that make tables grow.
GROWING_CLIENTS = 16


async def run_bench(given: argparse.Namespace, console: Console) -> Report:
    seconds = given.seconds or (QUICK_SECONDS if given.quick else SECONDS)
    rounds = given.rounds or (1 if given.quick else ROUNDS)
    series = {
        one.key: one
        for kind in given.kinds
        for clients in given.clients
        for one in (Series(kind, clients, target) for target in TARGETS)
    }
    report = Report(describe_run(quick=given.quick, seconds=seconds, rounds=rounds, workers=given.workers))
    with temporary_home() as home:
        async with start_bench(home, workers=given.workers) as bench:
            await warm_up(bench, max(given.clients))
            await _measure_all(series.values(), bench, rounds, seconds, console)
            report.series = {key: one.figures() for key, one in series.items()}
            report.pss = {name: server.pss() for name, server in bench.servers.items()}
            for kind in (kind for kind in given.kinds if kind != "paced"):
                for target in bench.servers:
                    report.statements[f"{kind}/{target}"] = await _statements(bench, kind, target)
            await _grow(bench.everthread, given.turns)
            report.turns = bench.everthread.turns
            report.tables = await bench.postgres.table_sizes("everthread")
    return report


async def _measure_all(series: Iterable[Series], bench: Bench, rounds: int, seconds: float, console: Console) -> None:
    """Measures each series once a round, and in each round the targets of a row directly after each other."""
    ordered = list(series)
    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task("measuring", total=rounds * len(ordered))
        for _ in range(rounds):
            for one in ordered:
                progress.update(bar, description=one.key)
                await measure(one, bench, seconds * (PACED_FACTOR if one.kind == "paced" else 1))
                progress.advance(bar)


async def _statements(bench: Bench, kind: str, name: str) -> dict[str, float]:
    """Returns the statements of one turn by their text, without those that the idle server sends."""
    target = bench.targets[name]
    await run_turns(target, kind, 1, turns=WARM_UP_TURNS)
    began = asyncio.get_running_loop().time()
    async with bench.postgres.count_statements(name) as counts:
        await run_turns(target, kind, 1, turns=COUNTED_TURNS)
    took = asyncio.get_running_loop().time() - began
    async with bench.postgres.count_statements(name) as idle_counts:
        await asyncio.sleep(took)
    return _per_turn(counts, idle_counts)


def _per_turn(counts: Counter[str], idle_counts: Counter[str]) -> dict[str, float]:
    left = counts - idle_counts
    return {text: count / COUNTED_TURNS for text, count in left.most_common()}


async def _grow(target: EverthreadTarget, turns: int) -> None:
    """Runs plain turns until there have been `turns` in all."""
    left = turns - target.turns
    if left > 0:
        await target.prepare(left // 4 + 1)
        await run_turns(target, "plain", GROWING_CLIENTS, turns=left)


def describe_run(**options: Any) -> dict[str, Any]:
    """Returns the commit, the time and the machine of a run of the bench, with its options."""
    commit = subprocess.run(("git", "rev-parse", "HEAD"), capture_output=True, text=True, check=False).stdout.strip()
    return {
        "commit": commit or "unknown",
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": os.cpu_count(),
        "load_before": os.getloadavg()[0],
        **options,
    }


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/bench turns", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one short round, about two minutes on two cores")
    parser.add_argument("--seconds", type=float, help=f"of each series in a round, instead of {SECONDS:g}")
    parser.add_argument("--rounds", type=int, help=f"instead of {ROUNDS}")
    parser.add_argument("--clients", type=int, nargs="+", default=CLIENTS)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--workers", default="1", help="processes of Everthread, or auto for the cores")
    parser.add_argument("--turns", type=int, default=0, help="grow the tables to so many turns before they are shown")
    parser.add_argument("--json", type=Path, help="a file for the report")
    parser.add_argument("--compare", type=Path, metavar="FILE", help="an earlier report: show the change since")
    return parser.parse_args(arguments)


def main() -> None:
    given = parse_arguments()
    before = Report.load(given.compare) if given.compare is not None else None
    console = Console(width=None if Console().is_terminal else 160)
    report = uvloop.run(run_bench(given, console))
    print_report(report, console)
    if given.json is not None:
        report.save(given.json)
    if before is not None:
        print_comparison(before, report, console)


if __name__ == "__main__":
    main()
