"""A whole server in a process of its own, over a scripted model server in this process."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.client import KEY
from tests.machine import clean_environment
from tests.scripted import ScriptedServer

START_S = 120.0


@asynccontextmanager
async def running(**settings: str) -> AsyncIterator[tuple[str, ScriptedServer]]:
    """Starts a server process with these settings, and yields its base URL and the model server behind it."""
    async with running_process(**settings) as (base_url, model, _):
        yield base_url, model


@asynccontextmanager
async def running_process(**settings: str) -> AsyncIterator[tuple[str, ScriptedServer, int]]:
    """As `running`, and yields the id of the process too."""
    async with ScriptedServer() as model:
        own = clean_environment()
        ours = {"API_KEY": KEY, "MODEL_BASE_URL": model.base_url, "LOG_LEVEL": "error", "CODE_INTERPRETER": "off"}
        environment = {**own, **{f"EVERTHREAD_{name}": value for name, value in ours.items()}, **settings}
        command = (sys.executable, "-m", "service.cli", "serve", "--port", "0")
        pipe = asyncio.subprocess.PIPE
        server = await asyncio.create_subprocess_exec(*command, env=environment, stdout=pipe)
        try:
            yield await asyncio.wait_for(wait_until_announced(server), START_S), model, server.pid
        finally:
            if server.returncode is None:
                server.terminate()
            await asyncio.wait_for(server.wait(), START_S)


async def wait_until_announced(server: asyncio.subprocess.Process) -> str:
    """Returns the base URL that the server prints when it is ready."""
    assert server.stdout is not None
    async for line in server.stdout:
        if b"OPENAI_BASE_URL=" in line:
            return line.decode().split("OPENAI_BASE_URL=", 1)[1].strip()
    raise AssertionError("the server ended before it was ready")
