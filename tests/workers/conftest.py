"""A server of several workers, as a user starts it, over the test's database and model."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.client import KEY, Client
from tests.machine import clean_environment
from tests.scripted import ScriptedServer
from tests.server_process import START_S

WAIT_S = 120.0
StartWorkers = Callable[..., AbstractAsyncContextManager["WorkerServer"]]


class WorkerServer:
    """A parent with its workers, and a client that opens a connection for each request.

    `announcement` is the text that the parent printed, up to the base URL.
    """

    def __init__(self, parent: psutil.Process, client: Client, announcement: str) -> None:
        self.parent = parent
        self.client = client
        self.announcement = announcement
        self._count = len(self.workers())

    def workers(self) -> list[psutil.Process]:
        """Returns the processes of the workers, the oldest first."""
        found = [child for child in self.parent.children() if "service.cli.worker" in child.cmdline()]
        return sorted(found, key=lambda child: child.create_time())

    async def wait_for_workers(self, *, without: int) -> list[dict[str, Any]]:
        """Waits until all workers serve and none of them has the process id `without`; returns the list of /healthz."""
        async with asyncio.timeout(WAIT_S):
            while True:
                workers = await self.health_workers()
                pids = {worker["pid"] for worker in workers}
                if (
                    len(pids) >= self._count
                    and without not in pids
                    and all(one["status"] == "serving" for one in workers)
                ):
                    return workers
                await asyncio.sleep(0.05)

    async def health_workers(self) -> list[dict[str, Any]]:
        """Returns the list of /healthz."""
        url = self.client.base_url.removesuffix("/v1") + "/healthz"
        async with self.client.session.get(url, headers={"Connection": "close"}) as response:
            content = await response.json()
        workers: list[dict[str, Any]] = content["workers"]
        return workers


@pytest.fixture
def start_workers(database_url: str, model: ScriptedServer, tmp_path: Path) -> StartWorkers:
    """Starts a server of two workers; keyword arguments are settings. None of its processes survives the context."""

    @asynccontextmanager
    async def start(**settings: Any) -> AsyncIterator[WorkerServer]:
        ours = {
            "DATABASE_URL": database_url,
            "DATA_DIR": str(tmp_path / "data"),
            "API_KEY": KEY,
            "MODEL_BASE_URL": model.base_url,
            "CODE_INTERPRETER": "off",
            "LOG_LEVEL": "error",
            "WORKERS": "2",
            **{name.upper(): str(value) for name, value in settings.items()},
        }
        own = clean_environment()
        environment = {**own, **{f"EVERTHREAD_{name}": value for name, value in ours.items()}}
        command = (sys.executable, "-m", "service.cli", "serve", "--port", "0")
        pipe = asyncio.subprocess.PIPE
        server = await asyncio.create_subprocess_exec(*command, env=environment, stdout=pipe)
        family: list[psutil.Process] = []
        try:
            announcement = await asyncio.wait_for(_read_announcement(server), START_S)
            base_url = announcement.rsplit("OPENAI_BASE_URL=", 1)[1].strip()
            parent = psutil.Process(server.pid)
            async with Client(base_url) as client:
                found = WorkerServer(parent, client, announcement)
                family = found.workers()
                yield found
                family += found.workers() if parent.is_running() else []
        finally:
            if server.returncode is None:
                server.send_signal(signal.SIGTERM)
            await asyncio.wait_for(server.wait(), START_S)
            _, alive = await asyncio.to_thread(psutil.wait_procs, family, timeout=WAIT_S)
            assert alive == [], "a worker outlived its parent"

    return start


async def _read_announcement(server: asyncio.subprocess.Process) -> str:
    """Returns the text that the server prints until it is ready, which ends with its base URL."""
    assert server.stdout is not None
    text = ""
    async for line in server.stdout:
        text += line.decode()
        if b"OPENAI_BASE_URL=" in line:
            return text
    raise AssertionError("the server ended before it was ready")
