"""The scripted model server itself, in the test's event loop and as a process."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import aiohttp
import pytest

from tests import scripted
from tests.scripted import ScriptedServer, says


async def complete(session: aiohttp.ClientSession, base_url: str, **more: Any) -> str:
    body = {"model": "m", "messages": [], "stream": True, **more}
    async with session.post(base_url + "/chat/completions", json=body) as response:
        return await response.text()


async def test_predicates_fifo_and_default(server: ScriptedServer) -> None:
    server.script(says("first"), says("second"))
    server.script(says("mine"), when=lambda request: request["model"] == "special")
    async with aiohttp.ClientSession() as session:
        assert '"first"' in await complete(session, server.base_url)
        assert '"second"' in await complete(session, server.base_url)
        assert '"Hello"' in await complete(session, server.base_url)
        assert '"mine"' in await complete(session, server.base_url, model="special")
        assert '"object":"chat.completion"' in await complete(session, server.base_url, stream=False)
    assert [(await server.next_request())["model"] for _ in range(5)] == ["m", "m", "m", "special", "m"]


async def test_a_wait_has_a_time_limit(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scripted, "WAIT_S", 0.01)
    with pytest.raises(AssertionError, match=r"waited 0.01 s for a reply at gate 'g'"):
        await server.wait_for_gate("g")


@pytest.mark.slow
@pytest.mark.timeout(30)
async def test_as_a_process() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.scripted", "--tokens", "3", stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    base_url = (await process.stdout.readline()).decode().split()[-1]
    control = base_url.removesuffix("/v1") + "/control"
    async with aiohttp.ClientSession() as session:
        assert (await complete(session, base_url)).count(" token") == 3
        script = [
            {"reply": "errors", "args": [418], "when": "teapot"},
            {"reply": "says", "args": ["one two"], "waits": {"gate": 2}},
        ]
        async with session.post(control, json={"reset": True, "script": script}) as response:
            assert (await response.json())["unused"] == 2
        assert "scripted error 418" in await complete(session, base_url, model="teapot")
        call = asyncio.create_task(complete(session, base_url))
        async with session.post(control, json={"reached": "gate"}) as response:
            assert (await response.json())["waiting"] == ["gate"]
        async with session.post(control, json={"open": ["gate"]}) as response:
            assert (await response.json())["waiting"] == []
        assert '" two"' in await call
        async with session.get(control + "/requests") as response:
            assert [request["model"] for request in (await response.json())["requests"]] == ["teapot", "m"]
    process.terminate()
    assert await process.wait() == 0
