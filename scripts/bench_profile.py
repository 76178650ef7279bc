"""`scripts/bench profile`: runs one load under py-spy, and prints the shares of the server's CPU time by layer.

The loads are the turns of `scripts/bench turns`, and `get`: GETs of a run that has ended. py-spy needs the right to
read the memory of the server process: root, or `kernel.yama.ptrace_scope` 0.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

import uvloop
from rich.console import Console
from rich.table import Table

from scripts.bench_layers import count_functions, count_layers, parse_stacks
from scripts.bench_model import KINDS
from scripts.bench_processes import Bench, start_bench, temporary_home
from scripts.bench_series import run_turns, warm_up

SAMPLES_A_SECOND = 250
TOP = 25
# Seconds that the load lasts longer than the profile.
MARGIN_S = 2.0
READS = ("get",)


async def run_profile(given: argparse.Namespace, raw: Path) -> tuple[float, str]:
    """Profiles the load. Returns the server's CPU time in ms for one turn or read, and the stacks."""
    with temporary_home() as home:
        async with start_bench(home) as bench:
            await warm_up(bench, given.clients)
            load = asyncio.create_task(_load(bench, given.load, given.clients, given.seconds + MARGIN_S))
            server = bench.servers["everthread"]
            profiler = await asyncio.create_subprocess_exec(
                Path(sys.executable).with_name("py-spy"),
                *("record", "--pid", str(server.process.pid), "--format", "raw", "--full-filenames"),
                *("--duration", f"{given.seconds:.0f}", "--rate", str(given.rate), "--output", raw),
                *(("--native",) if given.native else ()),
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
            )
            if await profiler.wait() != 0:
                sys.exit("py-spy could not read the server process (see `scripts/bench profile --help`)")
            await load
            before = server.cpu()
            done = await _load(bench, given.load, given.clients, given.seconds / 2)
            return (server.cpu() - before) / done * 1000, await asyncio.to_thread(raw.read_text)


async def _load(bench: Bench, load: str, clients: int, seconds: float) -> int:
    """Runs the load. Returns the number of its turns or reads."""
    if load not in READS:
        return len(await run_turns(bench.everthread, load, clients, seconds=seconds))
    url, end = await bench.everthread.create_run(), time.perf_counter() + seconds

    async def loop() -> int:
        count = 0
        while time.perf_counter() < end:
            await bench.everthread.read(url)
            count += 1
        return count

    return sum(await asyncio.gather(*(loop() for _ in range(clients))))


def print_profile(load: str, cpu_ms: float, raw: str, console: Console) -> None:
    stacks = parse_stacks(raw)
    layers, functions = count_layers(stacks), count_functions(stacks)
    total = layers.total()
    noun = "read" if load in READS else f"{load} turn"
    table = Table(title=f"{cpu_ms:.2f} ms of CPU time a {noun}, without the profiler", title_justify="left")
    for heading in ("layer", "share", "ms"):
        table.add_column(heading, justify="left" if heading == "layer" else "right")
    for layer, count in layers.most_common():
        table.add_row(layer, f"{count / total:.1%}", f"{cpu_ms * count / total:.3f}")
    console.print(table)
    table = Table(title="Functions, without the functions that they call", title_justify="left")
    for heading in ("function", "share"):
        table.add_column(heading, justify="left" if heading == "function" else "right")
    for function, count in functions.most_common(TOP):
        table.add_row(function, f"{count / total:.1%}")
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="scripts/bench profile", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--load", choices=(*KINDS, *READS), default="plain")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rate", type=int, default=SAMPLES_A_SECOND, help="samples a second")
    parser.add_argument("--native", action="store_true", help="sample the functions of C extensions too")
    parser.add_argument("--raw", type=Path, help="keep the stacks in this file, for a flame graph")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        raw = given.raw or Path(folder) / "stacks"
        cpu_ms, stacks = uvloop.run(run_profile(given, raw))
    print_profile(given.load, cpu_ms, stacks, Console(width=None if Console().is_terminal else 120))


if __name__ == "__main__":
    main()
