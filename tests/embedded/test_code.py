"""The embedded model with a required code_interpreter call: the model writes the code, and a real sandbox runs it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from service.app.server import serve
from service.embedded.model import EmbeddedModel
from service.sandbox.bubblewrap import SandboxLauncher
from service.settings import Settings
from tests import client as client_module
from tests.client import KEY, Client
from tests.http.helpers import assistant_with, thread_with
from tests.http.test_code_interpreter import CODE, code_steps, run_on

pytestmark = pytest.mark.embedded


@pytest.fixture
async def server(
    launcher: SandboxLauncher, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Client]:
    monkeypatch.setattr(client_module, "WAIT_S", 350.0)  # a loaded machine answers slowly
    model = EmbeddedModel(tmp_path)
    address = await model.start()
    listening: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(
        serve(
            Settings.load(port=0, data_dir=tmp_path, code_warm=0),
            database_url=database_url,
            owner_url=None,
            api_key=KEY,
            model_base_url=address.base_url,
            model_api_key=address.key,
            embedded_model=True,
            ready=listening.set_result,
        )
    )
    try:
        either: set[asyncio.Future[Any]] = {serving, listening}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        async with Client(listening.result()) as client:
            yield client
    finally:
        serving.cancel()
        await asyncio.wait({serving})
        await model.stop()


@pytest.mark.timeout(400)
async def test_a_required_call_runs_the_code_of_the_model(server: Client) -> None:
    assistant = await assistant_with(server, tools=CODE, temperature=0.01)
    thread = await thread_with(server, "What is 1234*5678?")
    done = await run_on(server, thread, assistant, tool_choice=CODE[0], max_completion_tokens=300)
    assert done["status"] in ("completed", "incomplete"), done["last_error"]
    call = (await code_steps(server, done))[0]
    assert call["type"] == "code_interpreter"
    assert call["code_interpreter"]["input"].strip()
    shown = await server.session.get(server.base_url.removesuffix("/v1") + "/metrics")
    assert 'everthread_sandboxes{state="session"} 1.0' in await shown.text()
    assert call["code_interpreter"]["outputs"], "the code prints something"
