"""`scripts/bench rebuild`: how many events `everthread rebuild` folds in a second, beside a bare read of the events.

Threads with turns fill a new database (`scripts/bench verify`). Then these take turns: bare reads, which fetch the
events on one connection and hash them; comparisons (`--check`); rebuilds of views that are right; and rebuilds of views
that were emptied. On a busy machine only the ratios and the CPU times count: `events/s by CPU` is the rate if the
processes and Postgres had two idle cores for themselves.
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import sys
from pathlib import Path

import psutil
import uvloop
from rich.console import Console
from rich.table import Table

from projections.row_store.tables import PRIMARY_KEYS
from scripts.bench_postgres import BenchPostgres
from scripts.bench_processes import leave_main_out, temporary_home
from scripts.bench_verify import CORES, GOAL, READ_ROWS, Rates, fill
from service.database import connect
from service.migrations import prepare_database
from service.replay.view_rebuild import BatchResult, RebuildProgress, RebuildScope, rebuild_views
from sql.connection import Connection

EVENTS = 60_000
ROUNDS = 3
READ, CHECK, RIGHT, EMPTY = "bare read", "rebuild --check", "rebuild, right rows", "rebuild, no rows"


async def read_events(db: Connection) -> None:
    """Fetches all events in the order of a rebuild, and hashes their contents."""
    async with db.transaction(readonly=True):
        cursor = await db.cursor("SELECT * FROM events ORDER BY stream_id, version")
        while rows := await cursor.fetch(READ_ROWS):
            for row in rows:
                hashlib.sha256(row["content"]).digest()


async def rebuild(url: str, processes: int, *, check: bool) -> None:
    """Rebuilds or compares all views. Exits if a stream cannot be folded, or if a row differs."""

    def ignore(progress: RebuildProgress, result: BatchResult) -> None:
        pass

    progress = await rebuild_views(url, RebuildScope(check=check, max_load=processes), ignore)
    if progress.broken or progress.differences:
        sys.exit(f"{progress.differences} rows differ; streams that cannot be folded: {progress.broken[:1]}")


async def measure(url: str, processes: int, rounds: int) -> dict[str, Rates]:
    """Returns the rates of each kind of round; the kinds take turns."""
    rates, db = {kind: Rates() for kind in (READ, CHECK, RIGHT, EMPTY)}, await connect(url, command_timeout_s=600)
    postmaster = psutil.Process(await db.fetchval("SELECT pg_backend_pid()")).parent()
    assert postmaster is not None
    for _ in range(rounds):
        await rates[READ].measure(read_events(db), postmaster)
        await rates[CHECK].measure(rebuild(url, processes, check=True), postmaster)
        await rates[RIGHT].measure(rebuild(url, processes, check=False), postmaster)
        await db.execute(f"TRUNCATE {', '.join(PRIMARY_KEYS)}")
        await rates[EMPTY].measure(rebuild(url, processes, check=False), postmaster)
        await db.execute("ANALYZE")
    await db.close()
    return rates


async def bench(given: argparse.Namespace, home: Path) -> None:
    async with BenchPostgres.started(home) as postgres:
        url = postgres.url("everthread")
        await prepare_database(url)
        events = await fill(url, given.events)
        rates = await measure(url, given.processes, given.rounds)
    columns = ("", "events/s", "events/s by CPU", "CPU µs an event", "of Postgres", "CPU × bare read")
    table = Table(*columns, title=f"{events:,} events, {given.processes} processes")
    for kind, measured in rates.items():
        table.add_row(*measured.row(kind, events), f"{total_cpu(measured) / total_cpu(rates[READ]):.1f}")
    console = Console()
    console.print(table)
    console.print(f"The goal is {GOAL:,} events/s on {CORES} cores.")


def total_cpu(rates: Rates) -> float:
    """Returns the CPU seconds of a round, its processes and Postgres together."""
    return statistics.median(rates.cpu) + statistics.median(rates.postgres_cpu)


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench rebuild", description=__doc__.split("\n\n")[0])
    parser.add_argument("--events", type=int, default=EVENTS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--processes", type=int, default=CORES)
    given = parser.parse_args()
    leave_main_out()
    with temporary_home() as home:
        uvloop.run(bench(given, home))


if __name__ == "__main__":
    main()
