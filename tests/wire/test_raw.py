"""Requests that no HTTP library sends: endless lines, endless bodies, and bytes that are not HTTP.

Each gets a 4xx in the API's shape, takes little memory and stores nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

import orjson
import psutil
import pytest
from yarl import URL

from service.database import Pool
from service.http.route import LARGE_BODY
from tests.client import KEY, WAIT_S, Answer, Client
from tests.server_process import running
from tests.wire.sample_objects import count_events

PIECE = b" " * 65_536
HEAD = f"Host: here\r\nAuthorization: Bearer {KEY}\r\nOpenAI-Beta: assistants=v2\r\n".encode()
# Bytes that a process may grow by, for any request.
MEMORY = 100 * 1024 * 1024
ENDLESS = 1_000_000  # chunks; 64 GB


def request(line: str, *headers: bytes) -> bytes:
    return line.encode() + b" HTTP/1.1\r\n" + HEAD + b"".join(header + b"\r\n" for header in headers) + b"\r\n"


def post(*headers: bytes, path: str = "/v1/assistants") -> bytes:
    return request(f"POST {path}", b"Content-Type: application/json", *headers)


def chunked_pieces(piece: bytes, count: int) -> Iterator[bytes]:
    """Yields the chunks of a chunked body without the final chunk."""
    return itertools.repeat(b"%x\r\n%b\r\n" % (len(piece), piece), count)


async def send_raw(base_url: str, head: bytes, body: Iterable[bytes] = ()) -> Answer:
    """Sends bytes until the server answers. Returns the answer."""
    url = URL(base_url)
    assert url.host is not None
    reader, writer = await asyncio.open_connection(url.host, url.port)

    async def write() -> None:
        with contextlib.suppress(ConnectionError):
            writer.write(head)
            for piece in body:
                writer.write(piece)
                await writer.drain()

    writing = asyncio.create_task(write())
    try:
        async with asyncio.timeout(WAIT_S):
            status, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in lines if line)
            raw = await reader.readexactly(int(headers["content-length"]))
    finally:
        writing.cancel()
        await asyncio.wait({writing})
        writer.transport.abort()
    assert headers["content-type"].startswith("application/json"), raw
    return Answer(int(status.split()[1]), orjson.loads(raw), headers)


def error_of(answer: Answer) -> tuple[int, str]:
    """Returns the status and message of an error, and checks its shape and headers."""
    assert answer.headers["x-request-id"].startswith("req_")
    assert answer.headers["openai-version"] == "2020-10-01"
    assert answer.body["error"] == {
        "message": answer.body["error"]["message"],
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }
    return answer.status, answer.body["error"]["message"]


LONG = "A line or header of the request is too long, or there are too many."


@pytest.mark.slow
@pytest.mark.parametrize(
    ("head", "status", "message"),
    [
        (post(b"X-Long: " + b"a" * 20_000), 431, LONG),
        (request("GET /v1/assistants/" + "a" * 20_000), 431, LONG),
        (post(*(b"X-%d: a" % number for number in range(5_000))), 431, LONG),
        (post()[:-2] + b"X-Endless: " + b"a" * 1_000_000, 431, LONG),
        (b"hello\r\n\r\n", 400, "This is no valid HTTP request…"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, "This is no valid HTTP request…"),
        (request("BREW /v1/assistants"), 400, "This is no valid HTTP request…"),
        (post(b"Content-Length: -5"), 400, "This is no valid HTTP request…"),
        (post(b"Content-Length: 2", b"Content-Length: 3"), 400, "This is no valid HTTP request…"),
        (request("GET /v1/assistants").replace(b"HTTP/1.1", b"HTTP/9.9"), 400, "This is no valid HTTP request…"),
        (post(b"Content-Encoding: gzip", b"Content-Length: 5"), 415, "Content-Encoding 'gzip' is not supported…"),
    ],
    ids=range(11),
)
async def test_what_is_hardly_http(client: Client, pool: Pool, head: bytes, status: int, message: str) -> None:
    before = await count_events(pool)
    found, said = error_of(await send_raw(client.base_url, head))
    assert found == status
    assert said == message or (message.endswith("…") and said.startswith(message[:-1]))
    assert "\n" not in said
    assert len(said) < 300
    assert await count_events(pool) == before
    assert await client.get("/assistants")  # the server still serves other clients


@pytest.mark.slow
async def test_a_body_that_stops_coming(client: Client, pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.http.bodies.BODY_TIMEOUT", 1.0)
    before = await count_events(pool)
    answer = await send_raw(client.base_url, post(b"Content-Length: 14"), [b'{"model":'])
    assert error_of(answer) == (408, "The request body did not arrive within 1 seconds.")
    assert await count_events(pool) == before


BOMB = gzip.compress(b" " * 200_000_000)
BODIES = {
    "100 MB": (post(b"Content-Length: 100000000"), itertools.repeat(PIECE, 1526), 413),
    "chunked, without end": (post(b"Transfer-Encoding: chunked"), chunked_pieces(PIECE, ENDLESS), 413),
    "100 MB passed through": (
        post(b"Content-Length: 100000000", path="/v1/chat/completions"),
        itertools.repeat(PIECE, 1526),
        413,
    ),
    "compressed": (post(b"Content-Encoding: gzip", b"Content-Length: %d" % len(BOMB)), [BOMB], 415),
    "100 MB without a key": (
        post(b"Content-Length: 100000000").replace(KEY.encode(), b"sk-no"),
        itertools.repeat(PIECE, 1526),
        401,
    ),
    "just below the limit": (
        post(b"Content-Length: %d" % LARGE_BODY.bytes),
        [b'"', *[b"a" * 65_536] * (LARGE_BODY.bytes // 65_536 - 1), b"a" * 65_534, b'"'],
        400,
    ),
}


def peak_of(process: psutil.Process) -> int:
    """Returns the peak memory of a process in bytes."""
    [line] = [one for one in Path(f"/proc/{process.pid}/status").read_text().splitlines() if one.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


@pytest.mark.slow
async def test_memory_stays_flat_whatever_is_sent(database_url: str, pool: Pool, tmp_path: Path) -> None:
    async with running(EVERTHREAD_DATABASE_URL=database_url, EVERTHREAD_DATA_DIR=str(tmp_path)) as (base_url, _):
        [server] = [
            child
            for child in psutil.Process().children()
            if child.status() != psutil.STATUS_ZOMBIE and child.environ().get("EVERTHREAD_DATA_DIR") == str(tmp_path)
        ]
        async with Client(base_url) as client:
            await client.post("/assistants", {"model": "m"})
        before, events = peak_of(server), await count_events(pool)
        for name, (head, body, status) in BODIES.items():
            assert (name, (await send_raw(base_url, head, body)).status) == (name, status)
            assert peak_of(server) - before < MEMORY, name
        assert await count_events(pool) == events
