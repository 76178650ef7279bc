"""A client that does not read its stream: the run goes on at its own pace, and the client costs bounded memory."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest
from aiohttp import web

from service.http import stream_sender
from service.http.stream_sender import StreamSender
from tests.client import KEY, Client
from tests.http.helpers import assistant_with, thread_with
from tests.scripted import ScriptedServer, says

PIECES, PIECE = 200, "x" * 5_000  # more than the buffers of a connection
MAX_BUFFER = 300_000  # bytes: aiohttp's buffer, uvloop's, and a batch
END_S = 20.0


async def _open_unread_stream(client: Client, path: str, assistant_id: str) -> asyncio.StreamWriter:
    """Asks for a run's stream on a connection with small buffers, and reads nothing."""
    url = urlsplit(client.base_url)
    unread = socket.socket()
    unread.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    unread.setblocking(False)
    await asyncio.get_running_loop().sock_connect(unread, (url.hostname, url.port))
    reader = asyncio.StreamReader(limit=1024)
    loop = asyncio.get_running_loop()
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await loop.create_connection(lambda: protocol, sock=unread)
    transport.pause_reading()
    writer = asyncio.StreamWriter(transport, protocol, reader, loop)
    body = orjson.dumps({"assistant_id": assistant_id, "stream": True})
    head = (
        f"POST {url.path}{path} HTTP/1.1\r\nHost: {url.netloc}\r\nAuthorization: Bearer {KEY}\r\n"
        f"OpenAI-Beta: assistants=v2\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body)
    return writer


@pytest.fixture
def senders(monkeypatch: pytest.MonkeyPatch) -> list[StreamSender]:
    """The senders of streams, in the order of their creation. Their sockets have small buffers."""
    created: list[StreamSender] = []
    real = StreamSender.__init__

    def create(self: StreamSender, request: web.Request, response: web.StreamResponse) -> None:
        real(self, request, response)
        assert request.transport is not None
        connection: Any = request.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        created.append(self)

    monkeypatch.setattr(StreamSender, "__init__", create)
    return created


async def _end_of_run(client: Client, thread_id: str) -> Any:
    while True:
        runs = (await client.get(f"/threads/{thread_id}/runs"))["data"]
        if runs:
            return await client.settled(runs[0])


async def test_a_client_that_does_not_read_delays_nothing(
    client: Client, model: ScriptedServer, senders: list[StreamSender]
) -> None:
    model.script(says("", pieces=[PIECE] * PIECES))
    assistant, thread = await assistant_with(client), await thread_with(client, "Hi")
    unread = await _open_unread_stream(client, f"/threads/{thread['id']}/runs", assistant["id"])
    try:
        run = await asyncio.wait_for(_end_of_run(client, thread["id"]), END_S)
        assert run["status"] == "completed"
        (sender,) = senders
        transport = sender._request.transport
        assert transport is not None
        assert isinstance(transport, asyncio.WriteTransport)
        assert 0 < transport.get_write_buffer_size() < MAX_BUFFER
    finally:
        unread.close()


async def test_a_client_that_reads_nothing_is_disconnected(
    client: Client, model: ScriptedServer, senders: list[StreamSender], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_sender, "WRITE_TIMEOUT", 0.2)
    model.script(says("", pieces=[PIECE] * PIECES))
    assistant, thread = await assistant_with(client), await thread_with(client, "Hi")
    unread = await _open_unread_stream(client, f"/threads/{thread['id']}/runs", assistant["id"])
    await asyncio.wait_for(_end_of_run(client, thread["id"]), END_S)
    (sender,) = senders
    while sender._request.transport is not None:
        await asyncio.sleep(0)
    assert sender._has_expired
    unread.close()
    with suppress(ConnectionError):
        await unread.wait_closed()
