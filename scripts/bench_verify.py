"""`scripts/bench verify`: how many events `everthread verify` checks in a second, beside a bare read of the same rows.

Threads with turns (a message, a run and its answer) fill a new database. Verifications and bare reads take turns: a
bare read fetches all rows of the log, the heads and the views on one connection, and does nothing with them. On a busy
machine only the ratios and the CPU times count: `events/s by CPU` is the rate if the processes and Postgres had two
idle cores for themselves.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import statistics
import sys
import time
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import uvloop
from rich.console import Console
from rich.table import Table

from projections.row_store.tables import PRIMARY_KEYS
from scripts.bench_postgres import BenchPostgres
from scripts.bench_processes import leave_main_out, temporary_home
from service.audit.sequencer import seal_batch
from service.audit.verification import Scope, verify_installation
from service.database import connect, open_pool
from service.feed import Feed
from service.migrations import prepare_database
from service.system import RandomIds, SystemClock
from service.writer import Writer
from sql.connection import Connection
from tests.events.thread.story import CREATE, ORIGIN, add, claim, finish, run

EVENTS = 60_000
TURNS = 6
ROUNDS = 5
WRITERS = 8
READ_ROWS = 1000
GOAL, CORES = 20_000, 2
_LOG = ("events", "streams", "log_ranges")


async def fill_thread(writer: Writer, thread_id: str) -> None:
    """Creates a thread with TURNS turns."""
    await writer.thread(ORIGIN, thread_id, CREATE)
    for turn in range(TURNS):
        await writer.thread(ORIGIN, thread_id, add("How tall is the lighthouse at Cape Wrath?", f"msg_q{turn}"))
        ids = claim(first=str(turn))
        await writer.thread(ORIGIN, thread_id, run(f"run_{turn}", claim=ids))
        await writer.thread(ORIGIN, thread_id, finish("It is twenty metres tall. " * 12, run_id=f"run_{turn}"))


async def fill(url: str, events: int) -> int:
    """Fills the database up to `events` events, and gives them their indexes. Returns their number."""
    pool, threads = await open_pool(url), iter(range(sys.maxsize))
    writer = Writer(pool, Feed(), clock=SystemClock(), ids=RandomIds())
    written = 0

    async def work() -> None:
        nonlocal written
        while written < events:
            await fill_thread(writer, f"thread_{next(threads):08}")
            written = await pool.fetchval("SELECT sum(version)::bigint FROM streams")

    async with asyncio.TaskGroup() as tasks:
        for _ in range(WRITERS):
            tasks.create_task(work())
    async with pool.acquire() as db:
        while (await seal_batch(db)).ranges:
            pass
        await db.execute("ANALYZE")
        total: int = await db.fetchval("SELECT count(*) FROM events")
    await pool.close()
    return total


async def read_all(db: Connection) -> None:
    """Fetches all rows of the log, the heads and the views."""
    async with db.transaction(readonly=True):
        for table in (*_LOG, *PRIMARY_KEYS):
            cursor = await db.cursor(f"SELECT * FROM {table}")
            while await cursor.fetch(READ_ROWS):
                pass


@dataclass(slots=True)
class Rates:
    """The seconds of one kind of round, and the CPU seconds of its processes and of Postgres."""

    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    postgres_cpu: list[float] = field(default_factory=list)

    async def measure(self, act: Awaitable[object], postmaster: psutil.Process) -> None:
        """Adds a round."""
        began, cpu, postgres = time.perf_counter(), own_cpu(), postgres_cpu(postmaster)
        await act
        self.seconds.append(time.perf_counter() - began)
        self.cpu.append(own_cpu() - cpu)
        self.postgres_cpu.append(postgres_cpu(postmaster) - postgres)

    def row(self, name: str, events: int) -> tuple[str, ...]:
        """Returns a row of the table."""
        cpu, postgres = statistics.median(self.cpu), statistics.median(self.postgres_cpu)
        rates = (events / statistics.median(self.seconds), CORES * events / (cpu + postgres))
        return (name, *(f"{rate:,.0f}" for rate in rates), *(f"{1e6 * cost / events:.0f}" for cost in (cpu, postgres)))


def own_cpu() -> float:
    """Returns the CPU seconds of this process and of its children, those that have ended among them.

    The workers of a verification are children of the server of forks, which lives on.
    """
    total = sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    for child in psutil.Process().children():
        if "multiprocessing.forkserver" in " ".join(child.cmdline()):
            total += sum(child.cpu_times()[:4])
    return total


def postgres_cpu(postmaster: psutil.Process) -> float:
    """Returns the CPU seconds of all processes of Postgres, also of those that have ended."""
    total = sum(postmaster.cpu_times()[:4])
    for child in postmaster.children():
        with suppress(psutil.NoSuchProcess):
            total += sum(child.cpu_times()[:2])
    return total


async def verify(url: str, processes: int) -> None:
    """Verifies all. Exits if there is a fault."""
    progress = await verify_installation(url, None, Scope(processes=processes), lambda _: None)
    if progress.faults:
        sys.exit(f"{len(progress.faults)} faults, the first one: {progress.faults[0]}")


async def measure(url: str, processes: int, rounds: int) -> tuple[Rates, Rates]:
    """Returns the rates of bare reads and of verifications, which take turns."""
    reads, checks, db = Rates(), Rates(), await connect(url)
    postmaster = psutil.Process(await db.fetchval("SELECT pg_backend_pid()")).parent()
    assert postmaster is not None
    for _ in range(rounds):
        await reads.measure(read_all(db), postmaster)
        await checks.measure(verify(url, processes), postmaster)
    await db.close()
    return reads, checks


async def bench(given: argparse.Namespace, home: Path) -> None:
    async with BenchPostgres.started(home) as postgres:
        url = postgres.url("everthread")
        await prepare_database(url)
        events = await fill(url, given.events)
        reads, checks = await measure(url, given.processes, given.rounds)
    columns = ("", "events/s", "events/s by CPU", "CPU µs an event", "of Postgres")
    table = Table(*columns, title=f"{events:,} events, {given.processes} processes")
    table.add_row(*reads.row("bare read", events))
    table.add_row(*checks.row("verify", events))
    console = Console()
    console.print(table)
    ratio = statistics.median(check / read for check, read in zip(checks.seconds, reads.seconds, strict=True))
    console.print(f"A verification takes {ratio:.1f} × the time of a bare read.")
    console.print(f"The goal is {GOAL:,} events/s on {CORES} cores.")


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench verify", description=__doc__.split("\n\n")[0])
    parser.add_argument("--events", type=int, default=EVENTS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="default: one for each core")
    given = parser.parse_args()
    leave_main_out()
    with temporary_home() as home:
        uvloop.run(bench(given, home))


if __name__ == "__main__":
    main()
