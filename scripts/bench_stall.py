"""`scripts/bench stall`: measures how long requests hold up other requests.

A real server gets the worst legal and illegal requests of every operation, while another process polls GET /healthz.
The stall of a request is the longest such answer beyond the noise: the median of the longest answers before each
request, while the server is idle. A request whose stall is above the bound is sent again, since another program may
take the processor for a moment; its least stall counts.

The table has a line for each operation, with its worst request. The exit status is 1 if a stall is above the bound.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import uvloop
from rich.console import Console
from rich.progress import track
from rich.table import Column, Table

from service.http.routes import ROUTES
from service.wire.fields import MAX_FILES_PAGE
from tests.client import Client
from tests.scripted import ScriptedServer
from tests.server_process import running_process
from tests.stalls.objects import Ids, create_large_objects, create_objects
from tests.stalls.poller import Poller
from tests.stalls.probes import Probe, Probes
from tests.stalls.worst_bodies import write_models_file

MOST_MS = 50.0
TRIES = 4
# Seconds of each measurement of the noise. A request takes longer, so that the noise is rather too low.
REST_S = 0.25


@dataclass(slots=True)
class Stall:
    """The least of the longest answers in several tries of a probe, in milliseconds with the noise."""

    probe: Probe
    longest_ms: float
    status: int
    tries: int


class Bench:
    """Measures probes one after another."""

    def __init__(self, poller: Poller, model: ScriptedServer) -> None:
        self._poller = poller
        self._model = model
        self._rests: list[float] = []

    @property
    def noise_ms(self) -> float:
        return statistics.median(self._rests)

    async def rest(self) -> None:
        """Measures the noise once."""
        await self._poller.longest_ms()
        await asyncio.sleep(REST_S)
        self._rests.append(await self._poller.longest_ms())

    async def measure(self, probe: Probe) -> Stall:
        least, status, tries = float("inf"), 0, 0
        while tries < TRIES and least > MOST_MS + (self.noise_ms if self._rests else 0):
            tries += 1
            ids = await probe.prepare()
            await self.rest()
            status = await probe.send(ids)
            least = min(least, await self._poller.longest_ms())
            self._model.requests.clear()
            self._model.bodies.clear()
        return Stall(probe, least, status, tries)


async def _run(asked: argparse.Namespace, console: Console) -> bool:
    """Returns whether every stall is within the bound."""
    routes = [route for route in ROUTES if asked.only in route.name]
    async with _server() as (client, model, pid):
        console.print("Creating objects …")
        ids: Ids = await (create_objects(client) if asked.small else create_large_objects(client, model, asked.files))
        async with Poller(client.base_url, pid) as poller:
            bench, stalls = Bench(poller, model), list[Stall]()
            for probe in track(Probes(client, model, ids).of(routes), "Measuring", console=console, total=None):
                stalls.append(await bench.measure(probe))
                if asked.each:
                    console.print(_line(stalls[-1], bench.noise_ms), soft_wrap=True)
    _print_table(stalls, bench.noise_ms, console)
    return all(stall.longest_ms <= MOST_MS + bench.noise_ms for stall in stalls)


@asynccontextmanager
async def _server() -> AsyncIterator[tuple[Client, ScriptedServer, int]]:
    with tempfile.TemporaryDirectory() as home:
        settings = {"EVERTHREAD_DATA_DIR": f"{home}/data", "EVERTHREAD_MODELS": write_models_file(home)}
        os.chmod(home, 0o711)
        async with (
            running_process(**settings) as (base_url, model, pid),
            Client(base_url, validate=False) as client,
        ):
            yield client, model, pid


def _line(stall: Stall, noise_ms: float) -> str:
    probe = stall.probe
    beyond = stall.longest_ms - noise_ms
    return f"{beyond:7.1f} ms  {stall.status or '-'}  {probe.route.name}: {probe.kind}  ({stall.tries} tries)"


def _print_table(stalls: list[Stall], noise_ms: float, console: Console) -> None:
    worst: dict[str, Stall] = {}
    for stall in stalls:
        known = worst.get(stall.probe.route.name)
        if known is None or stall.longest_ms > known.longest_ms:
            worst[stall.probe.route.name] = stall
    table = Table("Stall, ms", "Status", Column("Operation", no_wrap=True), "Worst request", box=None)
    table.title = f"Noise: {noise_ms:.1f} ms. Bound of a stall: {MOST_MS:.0f} ms beyond it."
    for name, stall in sorted(worst.items(), key=lambda pair: -pair[1].longest_ms):
        beyond = max(0.0, stall.longest_ms - noise_ms)
        style = "red" if beyond > MOST_MS else ""
        table.add_row(f"{beyond:9.1f}", str(stall.status or "–"), name, stall.probe.kind, style=style)
    console.print(table)


def main() -> None:
    asked = argparse.ArgumentParser(
        prog="scripts/bench stall", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    asked.add_argument("--only", default="", help="only operations whose method and path contain this text")
    asked.add_argument(
        "--files", type=int, default=MAX_FILES_PAGE, help="files of the project (a page of GET /v1/files)"
    )
    asked.add_argument("--small", action="store_true", help="create no large objects: for bodies alone")
    asked.add_argument("--each", action="store_true", help="print every request")
    given = asked.parse_args()
    sys.exit(0 if uvloop.run(_run(given, Console(width=None if sys.stdout.isatty() else 160))) else 1)


if __name__ == "__main__":
    main()
