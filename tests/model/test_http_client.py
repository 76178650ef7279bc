"""The HTTP client for model servers: proxies, redirects and errors."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from aiohttp import encode_basic_auth, web
from aiohttp.http import StreamWriter
from aiohttp.test_utils import TestServer

from service.model import http_client
from service.model.http_client import CONNECTION_ERRORS, MAX_ERROR, PIECE, HttpClient, RedirectError, StatusError
from tests.scripted import ScriptedServer, errors


async def test_a_redirect_that_keeps_the_method_is_followed(server: ScriptedServer) -> None:
    redirect = errors(307, "", {"location": f"{server.base_url}/completions"})
    server.script(redirect, redirect)
    client = HttpClient(server.base_url, "key", connect_s=5)
    async with await client.post("/chat/completions", b'{"stream":true}') as response:
        assert (response.status, response.url.path) == (200, "/v1/completions")
    assert server.headers[2]["Authorization"] == "Bearer key"
    await client.close()


async def test_a_large_body_is_written_in_pieces(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also after a redirect. The event loop does not wait for a copy of the whole body."""
    written: list[int] = []
    write = StreamWriter.write

    async def recorded(self: StreamWriter, chunk: Any, **options: Any) -> None:
        written.append(len(chunk))
        await write(self, chunk, **options)

    body = b'{"stream":true,"text":"' + b"x" * (3 * PIECE) + b'"}'
    redirect = errors(307, "", {"location": f"{server.base_url}/completions"})
    server.script(redirect, redirect)
    client = HttpClient(server.base_url, "key", connect_s=5)
    monkeypatch.setattr(StreamWriter, "write", recorded)
    async with await client.post("/chat/completions", body) as response:
        assert response.status == 200
    assert [*server.bodies] == [body] * 3
    assert [headers["Content-Length"] for headers in server.headers] == [str(len(body))] * 3
    assert max(written) == PIECE
    await client.close()


@pytest.mark.parametrize("status", [301, 302, 303])
async def test_a_redirect_that_makes_a_get_is_not_followed(server: ScriptedServer, status: int) -> None:
    """Not even to a place that cannot be reached, which would look as if the model server could not be reached."""
    server.script(errors(status, "", {"location": "http://127.0.0.1:1/login"}))
    client = HttpClient(server.base_url, "key", connect_s=5)
    with pytest.raises(RedirectError, match=rf"redirects to http://127.0.0.1:1/login \({status}\)"):
        await client.post("/chat/completions", b"{}")
    await client.close()


async def test_a_redirect_that_makes_a_get_is_refused(server: ScriptedServer) -> None:
    server.script(errors(303, "", {"location": "/v1/models"}))
    client = HttpClient(server.base_url, "key", connect_s=5)
    with pytest.raises(RedirectError, match=r"redirects to /v1/models \(303\)"):
        await client.post("/chat/completions", b"{}")
    await client.close()


async def test_an_error_is_read_up_to_its_bound(server: ScriptedServer) -> None:
    server.script(errors(400, "x" * (MAX_ERROR + 100_000)), errors(500, {"error": {"message": "m"}}), errors(404, ""))
    client = HttpClient(server.base_url, None, connect_s=5)
    bodies = []
    for _ in range(3):
        with pytest.raises(StatusError) as caught:
            await client.post("/chat/completions", b"{}")
        bodies.append((caught.value.status, caught.value.body))
    assert bodies == [(400, "x" * MAX_ERROR), (500, {"message": "m"}), (404, "")]
    assert server.headers[0]["Authorization"] == "Bearer none"
    await client.close()


async def test_a_proxy_of_the_environment_gets_its_own_password(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, str, str]] = []

    async def proxied(request: web.Request) -> web.Response:
        headers = request.headers
        seen.append((str(request.url), headers["Authorization"], headers["Proxy-Authorization"]))
        return web.json_response({})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", proxied)
    async with TestServer(app) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://name:password@127.0.0.1:{proxy.port}")
        monkeypatch.setenv("NO_PROXY", "inside.example")
        client = HttpClient("http://models.example/v1", "key", connect_s=5)
        assert await client.get("/models") == b"{}"
        await client.close()
        assert http_client._find_proxy("http://inside.example/v1") == {}
    assert seen == [("http://models.example/v1/models", "Bearer key", encode_basic_auth("name", "password"))]


async def test_a_proxy_before_tls_does_not_get_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    heads: list[bytes] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://name:password@127.0.0.1:{proxy.sockets[0].getsockname()[1]}")
        client = HttpClient("https://models.example/v1", "key", connect_s=5)
        with pytest.raises(CONNECTION_ERRORS):
            await client.post("/chat/completions", b"{}")
        await client.close()
    assert heads[0].startswith(b"CONNECT models.example:443 ")
    assert f"Proxy-Authorization: {encode_basic_auth('name', 'password')}".encode() in heads[0]
    assert b"Bearer" not in heads[0]


async def test_a_password_of_netrc_does_not_replace_the_key(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login a password b\ndefault login a password b\n")
    monkeypatch.setenv("NETRC", str(netrc))
    client = HttpClient(server.base_url, "key", connect_s=5)
    (await client.post("/chat/completions", b'{"stream":true}')).close()
    assert server.headers[0]["Authorization"] == "Bearer key"
    await client.close()


async def test_a_socks_proxy_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1")
    monkeypatch.delenv("HTTP_PROXY", raising=False)
    monkeypatch.delenv("http_proxy", raising=False)
    assert http_client._find_proxy("http://models.example/v1") == {}
