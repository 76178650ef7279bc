"""Server processes that a test starts, kills and starts again over its database and its model server."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.client import KEY, Client
from tests.forked import ForkedServer
from tests.scripted import ScriptedServer

Start = Callable[..., AbstractAsyncContextManager["Server"]]


class Server:
    """A server process of its own, and a client of it."""

    def __init__(self, process: ForkedServer, client: Client) -> None:
        self.process = process
        self.client = client

    async def kill(self) -> None:
        await self.process.end(signal.SIGKILL)


@pytest.fixture
def start(database_url: str, model: ScriptedServer, tmp_path: Path) -> Start:
    """Starts server processes, which write to the file descriptor `stderr`; other keyword arguments are settings."""

    @asynccontextmanager
    async def started(*, stderr: int = 2, **settings: Any) -> AsyncIterator[Server]:
        environment = {
            **os.environ,
            "EVERTHREAD_DATABASE_URL": database_url,
            "EVERTHREAD_DATA_DIR": str(tmp_path / "data"),
            "EVERTHREAD_API_KEY": KEY,
            "EVERTHREAD_MODEL_BASE_URL": model.base_url,
            "EVERTHREAD_CODE_INTERPRETER": "off",  # or each start makes a sandbox, a second of CPU time
            **{f"EVERTHREAD_{name.upper()}": str(value) for name, value in settings.items()},
        }
        async with ForkedServer(environment, stderr) as process, Client(process.base_url) as client:
            yield Server(process, client)

    return started
