"""`scripts/bench indexing`: the time and the CPU time of indexing a file, beside the embedding model alone (floor).

A real server over an embedded Postgres indexes English text, a .csv, a page of HTML and a PDF, one after another. The
floor embeds the same windows of the text, on one core, without anything else. It is measured on a sample of them, after
each file, in the same run: only the ratios to it count, because other work may share the cores.

    seconds    from the request that adds the file to its vector store until it is completed
    × floor    seconds over those of the floor; 1 / cores is the least that can be reached
    CPU ×      CPU time of all processes over that of the floor
    shares     of the CPU time: parsing processes, the embedding process, the server itself (tokens, languages and words
               of chunks, vectors on their way), and the Postgres processes (chunks, words, vectors and their indexes)

At last the .csv and the HTML are indexed at once, and while they are, small files arrive. The waits are the seconds
until a small file is completed, on the idle server and then.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import uvloop
from rich.console import Console
from rich.progress import Progress

import sql
from scripts.bench_documents import SMALL, make_documents
from scripts.bench_indexing_report import FileFigures, IndexingReport, print_comparison, print_report
from scripts.bench_postgres import cpu_between
from scripts.bench_processes import Bench, start_bench, temporary_home
from scripts.bench_store_target import StoreTarget
from scripts.bench_turns import describe_run
from service.search.embed.base import Embedder
from service.search.embed.factory import Embedders
from service.search.embed_chunks import EmbeddingProgress
from service.system import SystemClock

LARGE = ("table.csv", "page.html")
# The scale at which these are large files for the server (events/file.py), which have turns of their own. They need not
# be indexed to their end.
LARGE_SCALE = 0.25
# Windows of a file on which the floor is measured.
SAMPLE = 128
QUICK_SCALE = 0.1
ROUNDS, QUICK_ROUNDS = 2, 1
# Small files that arrive while large ones are indexed, and as many on the idle server.
ARRIVALS = 3
# Seconds that the large files are indexed before a small one arrives.
HEAD_START_S = 3.0
_EMBEDDING_PROCESS = "service.search.embed"


@dataclass(frozen=True, slots=True)
class CpuReading:
    """CPU times so far, in seconds, of the processes that take part."""

    parse: float
    embed: float
    server: float
    postgres: dict[int, float]

    def since(self, before: CpuReading) -> dict[str, float]:
        """Returns the CPU time of each part between two readings."""
        return {
            "parse": self.parse - before.parse,
            "embed": self.embed - before.embed,
            "words": self.server - before.server,
            "database": cpu_between(before.postgres, self.postgres),
        }


class IndexingBench:
    """Measures files one after another."""

    def __init__(self, bench: Bench, store: StoreTarget, db: asyncpg.Connection[Any], floor: Embedder) -> None:
        self._bench = bench
        self._store = store
        self._db = db
        self._floor = floor

    async def warm_up(self, small: bytes) -> None:
        """Starts the embedding processes and loads the vocabulary of tokens."""
        await self._store.index(SMALL, small)
        await self._floor.embed(["The first text starts the process."])

    async def measure(self, name: str, data: bytes) -> FileFigures:
        before, began = await self._read_cpu(), time.perf_counter()
        file_id = await self._store.index(name, data)
        seconds, cpu = time.perf_counter() - began, (await self._read_cpu()).since(before)
        chunks, windows = await self._windows(file_id)
        floor_s, floor_cpu_s = await self._measure_floor(windows)
        return FileFigures(
            bytes=len(data),
            chunks=chunks,
            windows=len(windows),
            seconds=seconds,
            cpu=cpu,
            floor_s=floor_s,
            floor_cpu_s=floor_cpu_s,
        )

    async def measure_waits(self, scale: float, arrivals: int) -> dict[str, list[float]]:
        """Returns the seconds that small files take on the idle server, and while the large files are indexed."""
        documents = make_documents(max(scale, LARGE_SCALE))
        waits = {"idle": [await self._time_small(documents[SMALL]) for _ in range(arrivals)], "busy": []}
        large = [await self._store.start(name, documents[name]) for name in LARGE]
        await asyncio.sleep(HEAD_START_S)
        for _ in range(arrivals):
            wait = await self._time_small(documents[SMALL])
            if any([await self._store.is_indexed(file) for file in large]):
                break  # it did not wait beside both
            waits["busy"].append(wait)
        for file in large:
            await self._store.remove(file)
        return waits

    async def _time_small(self, data: bytes) -> float:
        began = time.perf_counter()
        await self._store.index(SMALL, data)
        return time.perf_counter() - began

    async def _read_cpu(self) -> CpuReading:
        server = self._bench.servers["everthread"]
        times = server.process.cpu_times()
        return CpuReading(
            parse=times.children_user + times.children_system,
            embed=_embedding_cpu(server.process),
            server=times.user + times.system,
            postgres=await self._bench.postgres.cpu("everthread"),
        )

    async def _windows(self, file_id: str) -> tuple[int, list[str]]:
        """Returns the number of chunks of the file, and the texts of the windows that are embedded."""
        progress, block = EmbeddingProgress(), sql.queries("chunks")["page"]
        key = await self._db.fetchrow("SELECT store_id, file_id, job FROM chunk_files WHERE file_id = $1", file_id)
        assert key is not None
        for row in await self._db.fetch(block, *key, -1, 10**9):
            progress.add(row, needs_windows=self._floor.needs_windows)
        windows = progress.pop_ready(None, len(progress.pending))
        return progress.chunks, [window.text for window in windows]

    async def _measure_floor(self, windows: Sequence[str]) -> tuple[float, float]:
        """Returns the time and the CPU time of the model alone for these windows, from a sample of them."""
        step = max(1, len(windows) // SAMPLE)
        sample = windows[::step][:SAMPLE]
        began, cpu = time.perf_counter(), _embedding_cpu(psutil.Process())
        for at in range(0, len(sample), self._floor.batch):
            await self._floor.embed(sample[at : at + self._floor.batch])
        scale = len(windows) / len(sample)
        return (time.perf_counter() - began) * scale, (_embedding_cpu(psutil.Process()) - cpu) * scale


def _embedding_cpu(parent: psutil.Process) -> float:
    """Returns the CPU time of the embedding processes that the process has started."""
    seconds = 0.0
    for child in parent.children():
        try:
            if any(_EMBEDDING_PROCESS in part for part in child.cmdline()):
                times = child.cpu_times()
                seconds += times.user + times.system
        except psutil.NoSuchProcess:
            continue  # it ended meanwhile
    return seconds


async def run_bench(given: argparse.Namespace, console: Console) -> IndexingReport:
    scale = given.scale or (QUICK_SCALE if given.quick else 1.0)
    rounds = given.rounds or (QUICK_ROUNDS if given.quick else ROUNDS)
    documents = make_documents(scale)
    files = [name for name in documents if name != SMALL and (not given.files or name in given.files)]
    report = IndexingReport(describe_run(scale=scale, rounds=rounds))
    with temporary_home() as home:
        async with start_bench(home) as bench:
            embedders = Embedders(home / "floor.log", now=SystemClock().now)
            db = await asyncpg.connect(bench.postgres.url("everthread"))
            try:
                store = StoreTarget(bench.http, bench.servers["everthread"].base_url)
                floor = embedders.get(embedders.default_model)
                measured = IndexingBench(bench, store, db, floor)
                await measured.warm_up(documents[SMALL])
                with Progress(console=console, transient=True) as progress:
                    bar = progress.add_task("measuring", total=rounds * len(files) + 1)
                    for _ in range(rounds):
                        for name in files:
                            progress.update(bar, description=name)
                            report.files.setdefault(name, []).append(await measured.measure(name, documents[name]))
                            progress.advance(bar)
                    progress.update(bar, description="waits of small files")
                    if given.arrivals:
                        report.waits = await measured.measure_waits(scale, given.arrivals)
            finally:
                await db.close()
                await embedders.close()
    return report


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/bench indexing", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one round with files of a tenth of the size")
    parser.add_argument("--scale", type=float, help="factor of the files' sizes")
    parser.add_argument("--rounds", type=int, help=f"instead of {ROUNDS}")
    parser.add_argument("--files", nargs="+", choices=[name for name in make_documents(0.01) if name != SMALL])
    parser.add_argument("--arrivals", type=int, default=ARRIVALS, help=f"small files, instead of {ARRIVALS}")
    parser.add_argument("--json", type=Path, help="a file for the report")
    parser.add_argument("--compare", type=Path, metavar="FILE", help="an earlier report: show the change since")
    return parser.parse_args(arguments)


def main() -> None:
    given = parse_arguments()
    before = IndexingReport.load(given.compare) if given.compare is not None else None
    console = Console(width=None if Console().is_terminal else 160)
    report = uvloop.run(run_bench(given, console))
    print_report(report, console)
    if given.json is not None:
        report.save(given.json)
    if before is not None:
        print_comparison(before, report, console)


if __name__ == "__main__":
    main()
