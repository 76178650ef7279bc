"""A page of another origin in a real Chromium: EventSource with a token, and links to files in the page.

The page reports its observations to its own server, and the test waits for them. The test does not drive the browser.
"""

from __future__ import annotations

import asyncio
import base64
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest
from aiohttp import web

from tests.client import Client
from tests.conftest import StartServer
from tests.http.files import upload
from tests.http.helpers import assistant_with, thread_with
from tests.scripted import ScriptedServer, says

FLAGS = (
    "headless",
    "no-sandbox",
    "disable-gpu",
    "disable-quic",
    "no-first-run",
    "disable-background-networking",
    "disable-component-update",
    "disable-sync",
    "disable-dev-shm-usage",
)
WAIT_S = 60.0
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
HTML = b"<script>parent.postMessage('it ran', '*')</script>"
PAGE = """<!doctype html><title>A page</title><img id="picture"><iframe id="frame"></iframe><script>
const tell = (name, value) => fetch("/told", {method: "POST", body: JSON.stringify([name, value])});
addEventListener("message", event => tell("frame", event.data));
(async () => {
  const given = await (await fetch("/given")).json();
  const picture = document.getElementById("picture");
  picture.onload = () => tell("picture", picture.naturalWidth);
  picture.onerror = () => tell("picture", "broken");
  picture.src = given.picture;
  document.getElementById("frame").src = given.page;
  const source = new EventSource(given.stream);
  let opened = 0, text = "";
  source.onopen = () => tell("opened", ++opened);
  source.addEventListener("thread.message.delta", event => {
    text += JSON.parse(event.data).delta.content[0].text.value;
    tell("text", text);
  });
  source.addEventListener("thread.message.completed", event =>
    tell("message", [event.lastEventId !== "", JSON.parse(event.data).content[0].text.value]));
  source.addEventListener("thread.run.completed", () => tell("completed", text));
  source.onerror = () => { if (source.readyState === EventSource.CLOSED) tell("closed", opened); };
})();
</script>"""

pytestmark = pytest.mark.browser


class Page:
    """The server of the page, and the reports of the page."""

    def __init__(self) -> None:
        self.given: dict[str, str] = {}
        self.told: list[tuple[str, Any]] = []
        self._more = asyncio.Event()

    @asynccontextmanager
    async def served(self) -> AsyncIterator[str]:
        app = web.Application()
        app.router.add_get("/", self._page)
        app.router.add_get("/given", self._given)
        app.router.add_post("/told", self._told)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()

    async def until(self, name: str, value: Any) -> None:
        """Waits until the page has reported that value."""
        async with asyncio.timeout(WAIT_S):
            while (name, value) not in self.told:
                self._more.clear()
                await self._more.wait()

    async def _page(self, _: web.Request) -> web.Response:
        return web.Response(text=PAGE, content_type="text/html")

    async def _given(self, _: web.Request) -> web.Response:
        return web.json_response(self.given)

    async def _told(self, request: web.Request) -> web.Response:
        name, value = orjson.loads(await request.read())
        self.told.append((name, value))
        self._more.set()
        return web.Response()


class Wire:
    """A connection to the server that the test can cut. EventSource must reconnect by itself."""

    def __init__(self, base_url: str) -> None:
        self._to = (urlsplit(base_url).hostname, urlsplit(base_url).port)
        self._open: set[asyncio.StreamWriter] = set()

    @asynccontextmanager
    async def laid(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._passed, "127.0.0.1", 0)
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            self.cut()
            server.close()

    def cut(self) -> None:
        for writer in self._open:
            writer.transport.abort()
        self._open.clear()

    async def _passed(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(*self._to)
        self._open |= {writer, back}
        await asyncio.gather(_pumped(reader, back), _pumped(there, writer))


async def _pumped(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while piece := await reader.read(65536):
            writer.write(piece)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def browsing(chromium: str, url: str, profile: Path) -> AsyncIterator[None]:
    command = [
        chromium,
        *(f"--{flag}" for flag in FLAGS),
        f"--user-data-dir={profile}",
        "--remote-debugging-port=0",
    ]
    browser = await asyncio.create_subprocess_exec(*command, url, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        browser.terminate()
        await browser.wait()


@pytest.mark.timeout(300)
async def test_event_source_and_links(
    chromium: str, start_server: StartServer, model: ScriptedServer, tmp_path: Path
) -> None:
    model.script(says("one two three", pieces=["one", " two", " three"]).waits("middle", before=2))
    page = Page()
    async with page.served() as origin, start_server(cors_origins=origin) as client:
        wire = Wire(client.base_url)
        async with wire.laid() as wired:
            assistant, thread = await assistant_with(client), await thread_with(client, "Hi")
            stream = (await client.post(f"/threads/{thread['id']}/stream_tokens", {"expires_in": 3600}))["url"]
            server = client.base_url.removesuffix("/v1")
            page.given = {
                "stream": stream.replace(server, wired),
                "picture": await _link(client, PNG, "image/png"),
                "page": await _link(client, HTML, "text/html"),
            }
            async with browsing(chromium, origin, tmp_path / "profile"):
                await page.until("opened", 1)
                await page.until("picture", 1)
                await client.post(f"/threads/{thread['id']}/runs", {"assistant_id": assistant["id"]})
                await page.until("text", "one")
                wire.cut()
                await page.until("opened", 2)
                model.open_gate("middle")
                await page.until("message", [True, "one two three"])
                await page.until("completed", "one two three")
                await client.delete(f"/threads/{thread['id']}")
                await page.until("closed", 2)
    assert [name for name, _ in page.told if name == "frame"] == [], "an uploaded page never runs"


async def _link(client: Client, content: bytes, kind: str) -> str:
    file = await upload(client, content, kind=kind)
    url: str = (await client.post(f"/files/{file['id']}/links"))["url"]
    return url
