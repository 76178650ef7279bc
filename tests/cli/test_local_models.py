"""The search for a model server on this machine, with real servers on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from rich.console import Console

from service.cli import local_models, start
from service.cli.local_models import LocalModelServer, find_model_server
from service.cli.progress import StartProgress
from service.settings import Settings
from tests.scripted import ScriptedServer


async def found_on(*ports: int, own_port: int = 0) -> LocalModelServer | None:
    return await find_model_server(own_port, {port: f"program {number}" for number, port in enumerate(ports)})


def port_of(server: ScriptedServer) -> int:
    return int(server.origin.rsplit(":", 1)[1])


async def test_a_model_server_is_found_on_a_usual_port_but_not_on_our_own() -> None:
    async with ScriptedServer() as first, ScriptedServer() as second:
        ports = port_of(first), port_of(second)
        assert await found_on(*ports) == LocalModelServer("program 0", first.base_url, "scripted")
        assert await found_on(*ports, own_port=ports[0]) == LocalModelServer("program 1", second.base_url, "scripted")
        assert await found_on(ports[0], own_port=ports[0]) is None
    assert await found_on(*ports) is None


async def test_a_server_that_keeps_the_connection_open_is_found() -> None:
    body = b'{"object": "list", "data": [{"id": "m"}]}'
    closed = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: keep-alive\r\n\r\n" % len(body) + body)
        await reader.read()
        writer.close()
        closed.set()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert await found_on(port) == LocalModelServer("program 0", f"http://127.0.0.1:{port}/v1", "m")
        await closed.wait()


@pytest.mark.parametrize(
    "answer",
    [
        {"text": "<html>Jenkins</html>", "content_type": "text/html"},
        {"status": 401, "text": "{}"},
        {"text": '{"data": []}'},
        {"text": '{"data": [{"id": "a\\u001b[31m"}]}'},
        {"text": "[]"},
        {"text": ""},
    ],
)
async def test_other_programs_are_not_model_servers(answer: Mapping[str, Any]) -> None:
    async def models(_: web.Request) -> web.Response:
        return web.Response(**answer)

    app = web.Application()
    app.router.add_get("/v1/models", models)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    assert await found_on(runner.addresses[0][1]) is None
    await runner.cleanup()


async def test_models_that_only_embed_are_passed_over() -> None:
    """LM Studio comes with an embedding model, which is first in its list."""

    async def models(_: web.Request) -> web.Response:
        names = [{"id": "text-embedding-nomic-embed-text-v1.5"}, {"id": None}, {"id": "qwen3-8b"}]
        return web.json_response({"object": "list", "data": names})

    app = web.Application()
    app.router.add_get("/v1/models", models)
    async with TestServer(app) as server:
        assert server.port is not None
        found = await found_on(server.port)
        assert found is not None
        assert found.model == "qwen3-8b"


async def test_a_program_that_does_not_answer_is_waited_for_a_second_at_most() -> None:
    assert local_models.LOOK_S <= 1

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()  # until the client gives up
        writer.close()

    async with await asyncio.start_server(listen, "127.0.0.1", 0) as silent, ScriptedServer() as server:
        port = silent.sockets[0].getsockname()[1]
        found = await found_on(port, port_of(server))
        assert found is not None
        assert found.program == "program 1"


async def test_the_start_prints_the_option(monkeypatch: pytest.MonkeyPatch) -> None:
    async with ScriptedServer() as server:
        monkeypatch.setattr(start, "USUAL_PORTS", {port_of(server): "Ollama"})
        console = Console(record=True, width=200)
        await start._suggest_model_server(Settings(port=0), StartProgress(console))
        expected = f"! A model server runs here (Ollama with scripted). To use it: --model-base-url {server.base_url}\n"
        assert console.export_text() == expected
