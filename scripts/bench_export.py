"""`scripts/bench export`: how many events `everthread export` writes in a second, `everthread verify` checks in it, and
`everthread import` adds to a new database, with its own verification before.

Threads with turns fill a new database. Exports, verifications of an export, imports of it, and bare reads of the same
rows take turns.
On a busy machine only the ratios and the CPU times count.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
from pathlib import Path

import psutil
import uvloop
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from rich.console import Console
from rich.table import Table

from events.actors import CommandLineActor
from events.envelope import Origin
from events.installation import INSTALLATION_PROJECT
from scripts.bench_postgres import BenchPostgres
from scripts.bench_processes import temporary_home
from scripts.bench_verify import Rates, fill, read_all
from service.audit.checkpoint_signer import CheckpointSigner
from service.audit.kept_checkpoints import CheckpointFolder
from service.audit.signing_key import LocalSigner
from service.database import Pool, connect, open_pool
from service.exports.containers import FolderSink, read_files
from service.exports.export_check import verify_export
from service.exports.exporter import Exporter, load_cut
from service.exports.layout import ExportScope
from service.feed import Feed
from service.imports.event_spool import EventSpool
from service.imports.export_importer import ExportImporter
from service.imports.export_plan import plan_import, read_export
from service.migrations import prepare_database
from service.storage.folder import FolderBlobs
from service.system import RandomIds, SystemClock
from service.writer import Writer
from tests.audit.test_sequencer import Processes

EVENTS, ROUNDS = 60_000, 5
GOAL, IMPORT_GOAL = 20_000, 5_000


async def export(pool: Pool, place: Path) -> None:
    """Exports all into the folder, instead of an earlier export."""
    await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)
    scope = ExportScope()
    async with pool.acquire() as db:
        cut = await load_cut(db)
    sink = FolderSink(place, {"scope": scope.to_json(), "cut": cut.to_json()})
    exporter = Exporter(pool, None, sink, scope=scope, cut=cut, on_progress=lambda _: None)
    await exporter.run(SystemClock().now(), None)


async def verify(place: Path) -> None:
    """Verifies the export. Exits if there is a fault."""
    result = verify_export(read_files(place, None))
    if result.faults:
        sys.exit(f"{len(result.faults)} faults, the first one: {result.faults[0]}")


async def import_export(url: str, home: Path, place: Path) -> None:
    """Imports the export into a new database, as the command does."""
    spool, pool = EventSpool(home), await open_pool(url)
    try:
        export = read_export(place, spool, passphrase=None, keys=(), on_progress=lambda _: None)
        writer = Writer(pool, Feed(), clock=SystemClock(), ids=RandomIds())
        async with pool.acquire() as db:
            order = await plan_import(db, export, spool, ())
            origin = Origin(INSTALLATION_PROJECT, CommandLineActor("bench"))
            importer = ExportImporter(
                writer, FolderBlobs(home / "blobs"), spool, origin=origin, import_id=RandomIds().new("import")
            )
            await importer.run(db, export, order, ())
    finally:
        spool.close()
        pool.terminate()


async def bench(given: argparse.Namespace, home: Path) -> None:
    async with BenchPostgres.started(home) as postgres:
        url, place = postgres.url("everthread"), home / "export"
        await prepare_database(url)
        events = await fill(url, given.events)
        pool, db = await open_pool(url), await connect(url)
        signer = LocalSigner(Ed25519PrivateKey.generate())
        folder = CheckpointFolder(home / "audit")
        await CheckpointSigner(pool, Processes(), signer, clock=SystemClock(), folder=folder).scan()
        postmaster = psutil.Process(await db.fetchval("SELECT pg_backend_pid()")).parent()
        assert postmaster is not None
        reads, exports, checks, imports = Rates(), Rates(), Rates(), Rates()
        for number in range(given.rounds):
            await reads.measure(read_all(db), postmaster)
            await exports.measure(export(pool, place), postmaster)
            await checks.measure(verify(place), postmaster)
            new_url = postgres.url(f"imported_{number}")
            await db.execute(f"CREATE DATABASE imported_{number}")
            await prepare_database(new_url)
            await imports.measure(import_export(new_url, home, place), postmaster)
        await db.close()
        await pool.close()
    columns = ("", "events/s", "events/s by CPU on 2 cores", "CPU µs an event", "of Postgres")
    table = Table(*columns, title=f"{events:,} events, one process")
    for name, rates in (
        ("bare read", reads),
        ("export", exports),
        ("verify the export", checks),
        ("import it", imports),
    ):
        table.add_row(*rates.row(name, events))
    console = Console()
    console.print(table)
    console.print(f"The goal of an export is {GOAL:,} events/s, that of an import {IMPORT_GOAL:,}.")


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench export", description=__doc__.split("\n\n")[0])
    parser.add_argument("--events", type=int, default=EVENTS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    given = parser.parse_args()
    with temporary_home() as home:
        uvloop.run(bench(given, home))


if __name__ == "__main__":
    main()
