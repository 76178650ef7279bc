"""Several workers of one server: they share a port, and those that die or hang are replaced."""

from __future__ import annotations

import asyncio
import signal

import psutil
import pytest

from tests.http.helpers import run_of, said_by
from tests.http.test_metrics import scraped, value
from tests.scripted import ScriptedServer, says
from tests.workers.conftest import WAIT_S, StartWorkers, WorkerServer

pytestmark = pytest.mark.slow


async def test_a_killed_worker_is_replaced_and_no_new_connection_fails(
    start_workers: StartWorkers, model: ScriptedServer
) -> None:
    """The connections that the dead worker had not accepted go to the other one."""
    async with start_workers() as server:
        origin = server.client.base_url.removesuffix("/v1")
        assert f"{origin}/console#sign-in=" in server.announcement, "as a server of one process prints it"
        first, second = await server.health_workers()
        assert {first["pid"], second["pid"]} == {process.pid for process in server.workers()}
        model.script(says("Never read").waits("first"), says("Whole"))
        run = await run_of(server.client, "Hi")
        await model.wait_for_gate("first")
        requests = asyncio.create_task(_request_until_cancelled(server))
        killed = (await _worker_of_run(server, model)).pid
        psutil.Process(killed).kill()
        assert (await server.client.settled(run))["status"] == "completed"
        assert await said_by(server.client, run) == ["Whole"]
        await server.wait_for_workers(without=killed)
        requests.cancel()
        failures = await requests
        # At most the request that the dead worker was at work on.
        assert failures <= 1


async def test_a_frozen_worker_is_replaced_and_its_run_goes_on(
    start_workers: StartWorkers, model: ScriptedServer
) -> None:
    async with start_workers() as server:
        model.script(says("Never read").waits("first"), says("Whole"))
        run = await run_of(server.client, "Hi")
        await model.wait_for_gate("first")
        frozen = await _worker_of_run(server, model)
        frozen.suspend()
        await asyncio.to_thread(psutil.wait_procs, [frozen], timeout=WAIT_S)
        assert not frozen.is_running()
        assert (await server.client.settled(run))["status"] == "completed"
        await server.wait_for_workers(without=frozen.pid)


async def test_workers_end_with_their_parent(start_workers: StartWorkers) -> None:
    async with start_workers() as server:
        workers = server.workers()
        server.parent.send_signal(signal.SIGKILL)
        _, alive = await asyncio.to_thread(psutil.wait_procs, workers, timeout=WAIT_S)
        assert alive == []


async def test_each_worker_shows_the_metrics_of_all(start_workers: StartWorkers, model: ScriptedServer) -> None:
    """Also those of a worker that has ended, so that no counter goes back."""
    async with start_workers() as server:
        for number in range(6):
            model.script(says(f"Answer {number}"))
            await server.client.settled(await run_of(server.client, "Hi"))
        seen = [await scraped(server.client, Connection="close") for _ in range(6)]
        assert {value(samples, "runs_total", status="completed") for samples in seen} == {6}
        assert {value(samples, "database_connections_max") for samples in seen} == {20}
        replaced = server.workers()[0].pid
        psutil.Process(replaced).terminate()
        await server.wait_for_workers(without=replaced)
        samples = await scraped(server.client, Connection="close")
        assert value(samples, "runs_total", status="completed") == 6


async def _worker_of_run(server: WorkerServer, model: ScriptedServer) -> psutil.Process:
    """Returns the worker that has requested a completion of the model server: the one that executes the run."""
    for process in server.workers():
        ports = {getattr(found.laddr, "port", None) for found in process.net_connections("tcp")}
        if ports & model.ports:
            return process
    raise AssertionError("no worker executes the run")


async def _request_until_cancelled(server: WorkerServer) -> int:
    """Sends requests on new connections until cancelled. Returns how many failed."""
    failures = 0
    url = server.client.base_url.removesuffix("/v1") + "/healthz"
    try:
        while True:
            try:
                async with server.client.session.get(url, headers={"Connection": "close"}) as response:
                    await response.read()
            except OSError:
                failures += 1
    except asyncio.CancelledError:
        return failures
