"""`scripts/bench check`: how many events `everthread replay --check` compares in a second, with one process.

Two histories are checked by turns: a new database with threads of turns (`scripts/bench verify` fills it), and the
corpus of recorded runs again and again, whose requests of model calls are rendered again and whose states are hashed.
On a busy machine only `events/s by CPU` counts: the rate if the process had an idle core for itself.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from pathlib import Path

import uvloop
from rich.console import Console
from rich.table import Table

from scripts.bench_postgres import BenchPostgres
from scripts.bench_processes import temporary_home
from scripts.bench_verify import fill
from scripts.record_corpus import CORPUS
from service.database import Pool, open_pool
from service.migrations import prepare_database
from service.replay.check_history import CheckScope, HistoryCheck, check_database, check_file

EVENTS = 30_000
ROUNDS = 3
GOAL = 5_000


class Rates:
    """The events per second of the rounds of one history, by the clock and by the CPU time of this process."""

    def __init__(self) -> None:
        self.by_clock: list[float] = []
        self.by_cpu: list[float] = []
        self.events = self.prompts = 0
        self._began = self._cpu = 0.0

    def begin(self) -> HistoryCheck:
        """Begins a round."""
        self._began, self._cpu = time.perf_counter(), _cpu_seconds()
        return HistoryCheck(lambda _: "again")

    def end(self, check: HistoryCheck, deviations: int) -> None:
        """Ends a round. Exits if there is a deviation."""
        if deviations:
            raise SystemExit(f"{deviations} deviations")
        self.by_clock.append(check.progress.events / (time.perf_counter() - self._began))
        self.by_cpu.append(check.progress.events / (_cpu_seconds() - self._cpu))
        self.events, self.prompts = check.progress.events, check.progress.prompts

    def row(self, name: str) -> tuple[str, ...]:
        """Returns a row of the table."""
        rates = (statistics.median(self.by_clock), statistics.median(self.by_cpu))
        return (name, f"{self.events:,}", f"{self.prompts:,}", *(f"{rate:,.0f}" for rate in rates))


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def check_corpus(check: HistoryCheck, events: int) -> int:
    """Checks the corpus again and again, up to about `events` events. Returns the number of deviations."""
    found = 0
    while check.progress.events < events:
        for path in sorted(CORPUS.glob("*.jsonl")):
            found += len(list(check_file(check, path, lambda: None)))
    return found


async def measure(pool: Pool, events: int, rounds: int) -> tuple[Rates, Rates]:
    """Returns the rates of the database and of the file, which are checked by turns."""
    database, file = Rates(), Rates()
    for _ in range(rounds):
        check = database.begin()
        found = [deviation async for deviation in check_database(check, pool, CheckScope(), lambda: None)]
        database.end(check, len(found))
        check = file.begin()
        file.end(check, check_corpus(check, events))
    return database, file


async def bench(given: argparse.Namespace, home: Path) -> None:
    async with BenchPostgres.started(home) as postgres:
        url = postgres.url("everthread")
        await prepare_database(url)
        await fill(url, given.events)
        pool = await open_pool(url)
        database, file = await measure(pool, given.events, given.rounds)
        await pool.close()
    table = Table("history", "events", "prompts", "events/s", "events/s by CPU", title="everthread replay --check")
    table.add_row(*database.row("database"))
    table.add_row(*file.row("recorded runs"))
    console = Console()
    console.print(table)
    console.print(f"The goal is {GOAL:,} events/s.")


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench check", description=__doc__.split("\n\n")[0])
    parser.add_argument("--events", type=int, default=EVENTS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    given = parser.parse_args()
    with temporary_home() as home:
        uvloop.run(bench(given, home))


if __name__ == "__main__":
    main()
