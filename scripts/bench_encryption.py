"""`scripts/bench encryption`: the CPU time of appends and reads over an encrypted database, beside a plain one.

The two databases take turns, in pairs: a new thread gets 20 messages, one append each; then its messages are read as a
page, many times. The times are those of this process, without Postgres'. On a busy machine only the ratios count.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from time import process_time

import asyncpg
import uvloop
from rich.console import Console
from rich.table import Table

from events.actors import CommandLineActor
from events.envelope import Origin
from events.thread.commands import AddMessage, CreateThread, NewMessage
from projections import messages
from projections.rows import Cursor
from scripts.bench_postgres import BenchPostgres
from scripts.bench_processes import temporary_home
from service.database import connect, open_pool
from service.feed import Feed
from service.migrations import prepare_database
from service.secrets.encryption import prepare_encryption, read_keys
from service.secrets.key_source import EncryptionKeySource
from service.system import RandomIds, SystemClock
from service.writer import Writer

MESSAGES = 20
READS = 50
PAIRS = 20
ORIGIN = Origin("proj_bench", CommandLineActor("bench"))
TEXT = "The lighthouse at Cape Wrath was built in 1828 by Robert Stevenson. " * 4
# The goal of reading a page, as a ratio (issue 15).
READ_GOAL = 1.30


@dataclass(slots=True)
class Side:
    """One of the two databases, with the CPU seconds of its rounds."""

    name: str
    writer: Writer
    appends: list[float] = field(default_factory=list)
    reads: list[float] = field(default_factory=list)

    async def measure(self, thread_id: str) -> None:
        """Appends MESSAGES messages to a new thread, and reads them READS times."""
        began = process_time()
        await self.writer.thread(ORIGIN, thread_id, CreateThread([], {}, {}))
        for number in range(MESSAGES):
            message = NewMessage(f"msg_{number}", "user", [{"type": "text", "text": TEXT}], [], {})
            await self.writer.thread(ORIGIN, thread_id, AddMessage(message))
        self.appends.append(process_time() - began)
        async with self.writer.pool.acquire() as db:
            began = process_time()
            for _ in range(READS):
                page = await messages.page(db, ORIGIN.project_id, thread_id, Cursor(MESSAGES))
                assert len(page.items) == MESSAGES
            self.reads.append(process_time() - began)


async def open_side(postgres: BenchPostgres, name: str, home: Path, *, is_encrypted: bool) -> Side:
    """Makes a database of this name."""
    admin = await asyncpg.connect(postgres.url("postgres"))
    await admin.execute(f"CREATE DATABASE {name}")
    await admin.close()
    url = postgres.url(name)
    await prepare_database(url)
    source = EncryptionKeySource(folder=home / name)
    db = await connect(url)
    await prepare_encryption(db, source, await read_keys(source), wants_encryption=is_encrypted)
    await db.close()
    return Side(name, Writer(await open_pool(url), Feed(), clock=SystemClock(), ids=RandomIds()))


async def bench(given: argparse.Namespace, home: Path) -> None:
    async with BenchPostgres.started(home) as postgres:
        plain = await open_side(postgres, "plain", home, is_encrypted=False)
        encrypted = await open_side(postgres, "encrypted", home, is_encrypted=True)
        for number in range(given.pairs + 1):
            for side in (plain, encrypted) if number % 2 else (encrypted, plain):
                await side.measure(f"thread_{number}")
        for side in (plain, encrypted):
            del side.appends[0], side.reads[0]  # the first round prepares the statements
            await side.writer.pool.close()
    table = Table("", "plain", "encrypted", "ratio", title=f"CPU of the process, medians of {given.pairs} pairs")
    add_row(table, "an append (µs)", plain.appends, encrypted.appends, count=MESSAGES + 1)
    add_row(table, f"a page of {MESSAGES} messages (µs)", plain.reads, encrypted.reads, count=READS)
    console = Console()
    console.print(table)
    console.print(f"The goal for a page is a ratio of at most {READ_GOAL:.2f}.")


def add_row(table: Table, name: str, plain: list[float], encrypted: list[float], *, count: int) -> None:
    """Adds the times of one act, and the median of the ratios of the pairs."""
    micros = [statistics.median(times) / count * 1e6 for times in (plain, encrypted)]
    ratio = statistics.median(after / before for before, after in zip(plain, encrypted, strict=True))
    table.add_row(name, *(f"{each:.0f}" for each in micros), f"{ratio:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench encryption", description=__doc__.split("\n\n")[0])
    parser.add_argument("--pairs", type=int, default=PAIRS)
    given = parser.parse_args()
    with temporary_home() as home:
        uvloop.run(bench(given, home))


if __name__ == "__main__":
    main()
