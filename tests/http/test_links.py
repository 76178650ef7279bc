"""Links to the content of files: valid for a limited time, for that file only, and harmless in a browser."""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping

import aiohttp
import pytest

from service.cli import admin
from service.database import Pool
from service.http import azure
from service.http.routes import ROUTES
from tests.client import Client
from tests.clock import CLOCK
from tests.conftest import StartServer
from tests.http.files import upload
from tests.http.helpers import run_of, thread_with
from tests.http.keys import make_key, writer
from tests.http.test_thread_stream import refused

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)
SVG = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"
HTML = b"<html><script>alert(1)</script>"


async def opened(url: str, method: str = "GET") -> tuple[int, bytes, Mapping[str, str]]:
    """Reads a link as a browser does: without a key and without headers."""
    async with aiohttp.ClientSession() as session, session.request(method, url) as response:
        return response.status, await response.read(), response.headers


async def link_to(client: Client, file_id: str, **body: int) -> str:
    made = await client.post(f"/files/{file_id}/links", body or None)
    assert (made["object"], made["file_id"]) == ("file.link", file_id)
    assert 0 < made["expires_at"] - CLOCK.now().timestamp() <= body.get("expires_in", 3600) + 1
    url: str = made["url"]
    return url


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "kind", "shown"),
    [
        (PNG, "image/png", "image/png"),
        (PNG, "application/octet-stream", "image/png"),
        (b"GIF89a" + bytes(9), "image/gif", "image/gif"),
        (b"\xff\xd8\xff\xe0" + bytes(9), "text/html", "image/jpeg"),
        (b"RIFF....WEBP" + bytes(9), "image/webp", "image/webp"),
        (HTML, "image/png", None),
        (HTML, "text/html", None),
        (SVG, "image/svg+xml", None),
        (b"a,b", "text/csv", None),
    ],
)
async def test_only_pictures_are_shown(client: Client, content: bytes, kind: str, shown: str | None) -> None:
    file = await upload(client, content, kind=kind, filename='filename="Bild é.x"')
    url = await link_to(client, file["id"])
    for method in ("GET", "HEAD"):
        status, body, headers = await opened(url, method)
        assert (status, body) == (200, content if method == "GET" else b"")
        how, _, name = headers["Content-Disposition"].partition(";")
        assert (headers["Content-Type"], how) == (shown or kind, "inline" if shown else "attachment")
        assert name.endswith("filename*=UTF-8''Bild%20%C3%A9.x")
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
        assert headers["Referrer-Policy"] == "no-referrer"
    async with client.session.get(url.partition("?")[0], headers=client.headers) as response:
        assert response.headers["Content-Disposition"].startswith("attachment;"), "with a key all is as it was"
        assert "Content-Security-Policy" not in response.headers


async def test_what_a_link_is_good_for(client: Client, pool: Pool) -> None:
    file, other = await upload(client), await upload(client)
    url = await link_to(client, file["id"])
    assert (await opened(url))[:2] == (200, b"Hello.")
    for wrong in (url.replace(file["id"], other["id"]), url.replace("/content", ""), url + "x", url.partition("?")[0]):
        assert (await refused(wrong)).status == 401
    await client.delete(f"/files/{file['id']}")
    assert (await refused(url)).status == 404
    assert (await client.call("POST", f"/files/{file['id']}/links", {})).status == 404
    for body in ({"expires_in": 0}, {"expires_in": 7 * 24 * 3600 + 1}, {"file_id": "x"}):
        assert (await client.call("POST", f"/files/{other['id']}/links", body)).status == 400


async def test_a_link_goes_with_its_key(client: Client, pool: Pool) -> None:
    key_id, key = await make_key(pool)
    file = await upload(client)
    async with Client(client.base_url, key=key) as other:
        url = await link_to(other, file["id"], expires_in=7 * 24 * 3600)
    assert (await opened(url))[0] == 200
    await admin.revoke_key(writer(pool), key_id)
    assert (await refused(url)).error[0::3] == (401, "invalid_token")


async def test_where_others_reach_the_server(start_server: StartServer) -> None:
    async with start_server(public_url="https://ai.example.com/") as client:
        url = await link_to(client, (await upload(client))["id"])
        assert url.startswith("https://ai.example.com/v1/files/file-")


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:80",
        "203.0.113.9",
        "127.0.0.1.evil.example",
        "127.0.0.1@evil.example",
        "a/b",
        "[::1",
        "x y",
    ],
)
async def test_a_host_that_is_not_the_server_gets_no_link(client: Client, host: str) -> None:
    file, thread = await upload(client), await thread_with(client, "Hi")
    client.headers["Host"] = host
    for path in (f"/files/{file['id']}/links", f"/threads/{thread['id']}/stream_tokens"):
        status, message, _, code = (await client.call("POST", path)).error
        assert (status, code) == (400, "unknown_host")
        assert "EVERTHREAD_PUBLIC_URL" in message
    client.headers["X-Forwarded-Host"] = host
    client.headers["Host"] = f"LocalHost:{client.base_url.rpartition(':')[2].removesuffix('/v1')}"
    assert (await link_to(client, file["id"])).startswith(f"http://{client.headers['Host']}/v1/files/")


async def test_known_hosts(client: Client, start_server: StartServer) -> None:
    file = await upload(client)
    for host in ("127.0.0.1:1", "[::1]:8000", "localhost.", socket.gethostname()):
        client.headers["Host"] = host
        assert (await link_to(client, file["id"])).startswith(f"http://{host}/v1/files/")
    async with start_server(public_url="https://ai.example.com") as other:
        other.headers["Host"] = "evil.example"
        assert (await link_to(other, file["id"])).startswith("https://ai.example.com/v1/files/")


@pytest.mark.slow
async def test_a_token_opens_that_one_thing(client: Client) -> None:
    """Among all routes that can be read, a token opens the streams of its thread, and a link its file."""
    file, run = await upload(client), await client.settled(await run_of(client, "Hi"))
    store = await client.post("/vector_stores", {"file_ids": [file["id"]]})
    ids = {"file_id": file["id"], "vector_store_id": store["id"], "thread_id": run["thread_id"], "run_id": run["id"]}
    made = await client.post(f"/threads/{run['thread_id']}/stream_tokens")
    tokens = [made["token"], (await link_to(client, file["id"])).partition("token=")[2]]
    opens = set()
    readable = [route for route in ROUTES if route.method == "GET" and route.path.startswith("/v1/")]
    for pattern in (path for route in readable for path in (route.path, *azure.paths(route))):
        path = re.sub(r"\{(\w+)[^}]*\}", lambda found: ids.get(found[1], "x_1"), pattern)
        for token in tokens:
            url = client.base_url.removesuffix("/v1") + f"{path}?token={token}"
            # The thread's stream never ends.
            async with aiohttp.ClientSession() as session, session.get(url) as response:
                assert response.status in (200, 401), (path, response.status)
                if response.status == 200:
                    opens.add((pattern, tokens.index(token)))
    forms = ("/v1", "/openai", "/openai/v1", "/api/projects/{azure_project}", "")
    assert opens == {
        *((form + "/threads/{thread_id}/stream", 0) for form in forms),
        *((form + "/threads/{thread_id}/runs/{run_id}/stream", 0) for form in forms),
        *((form + "/files/{file_id}/content", 1) for form in forms),
    }
