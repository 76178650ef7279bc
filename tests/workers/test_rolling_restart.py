"""SIGHUP restarts the workers one by one, and the official client with its default retries notices nothing."""

from __future__ import annotations

import asyncio
import json
import os
import signal

import pytest

from tests.client import KEY
from tests.scripted import ScriptedServer, says
from tests.sdks.test_sdks import HERE, VENVS
from tests.workers.conftest import WAIT_S, StartWorkers

pytestmark = [pytest.mark.slow, pytest.mark.sdk, pytest.mark.timeout(480)]
VERSION = "3.54.0"


async def test_a_rolling_restart_fails_no_request(start_workers: StartWorkers, model: ScriptedServer) -> None:
    model.default = says("One two three four five six.", pieces=6)
    async with start_workers() as server:
        before = {process.pid for process in server.workers()}
        python = VENVS / f"openai-{VERSION}" / "bin" / "python"
        assert python.exists(), f"{python} is missing: scripts/test makes it"
        environment = {**os.environ, "OPENAI_BASE_URL": server.client.base_url, "OPENAI_API_KEY": KEY}
        pipe = asyncio.subprocess.PIPE
        program = await asyncio.create_subprocess_exec(
            python, HERE / "programs" / "until_stopped.py", env=environment, stdin=pipe, stdout=pipe
        )
        assert program.stdout is not None
        assert await asyncio.wait_for(program.stdout.readline(), WAIT_S) == b"started\n"
        server.parent.send_signal(signal.SIGHUP)
        for pid in before:
            await server.wait_for_workers(without=pid)
        out, _ = await asyncio.wait_for(program.communicate(b""), WAIT_S)
        result = json.loads(out)
        assert result["wrong"] == []
        assert result["done"] > 4
        assert not before & {process.pid for process in server.workers()}
