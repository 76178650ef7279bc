"""Clients that hold connections open without requests: time-outs for headers, and bounds on the connections."""

from __future__ import annotations

import asyncio
import errno
import resource
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest
import structlog

from service.http import connections, server
from service.http.connections import ConnectionLimits, LogLimit, log_exhausted_files, peer_name, raise_file_limit
from tests.client import Client
from tests.conftest import StartServer

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
HALF_OPEN = 1_100
SHORT_S = 0.2
WITHIN_S = 30.0


@asynccontextmanager
async def sockets(client: Client, count: int) -> AsyncIterator[list[Streams]]:
    """Connections to the client's server that have sent nothing."""
    where = urlsplit(client.base_url)
    opened: list[Streams] = []
    try:
        for _ in range(count):
            opened.append(await asyncio.open_connection(where.hostname, where.port))
        yield opened
    finally:
        for _, writer in opened:
            writer.transport.abort()


async def rest(streams: Streams) -> bytes:
    """Everything that the server sends until it closes the connection."""
    async with asyncio.timeout(WITHIN_S):
        return await streams[0].read()


async def test_half_open_sockets_do_not_stop_the_server(client: Client) -> None:
    raise_file_limit()
    async with sockets(client, HALF_OPEN):
        assert (await client.call("GET", "/models")).status == 200


async def test_a_connection_without_a_byte_is_closed(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEADERS_TIMEOUT_S", SHORT_S)
    async with sockets(client, 3) as opened:
        assert await asyncio.gather(*map(rest, opened)) == [b""] * 3


@pytest.mark.parametrize("is_second_request", [False, True])
async def test_headers_that_arrive_byte_by_byte_do_not_extend_the_time_out(
    client: Client, monkeypatch: pytest.MonkeyPatch, is_second_request: bool
) -> None:
    monkeypatch.setattr(connections, "HEADERS_TIMEOUT_S", SHORT_S)
    async with sockets(client, 1) as [(reader, writer)]:
        if is_second_request:
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
            await reader.readexactly(int(length.split(b":")[1]))
        writer.write(b"GET /healthz HTTP/1.1\r\nX: ")
        closing = asyncio.create_task(rest((reader, writer)))
        while not (await asyncio.wait([closing], timeout=SHORT_S / 10))[0]:
            writer.write(b"x")
        assert closing.exception() is not None or closing.result() == b""


async def test_a_body_may_take_longer_than_the_headers(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEADERS_TIMEOUT_S", SHORT_S)
    head = (
        f"POST /v1/threads HTTP/1.1\r\nHost: x\r\nAuthorization: {client.headers['Authorization']}\r\n"
        "Connection: close\r\nOpenAI-Beta: assistants=v2\r\n"
        "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{"
    )
    async with sockets(client, 1) as [busy]:
        busy[1].write(head.encode())
        for _ in range(3):  # each takes as long as the time-out
            async with sockets(client, 1) as [idle]:
                assert await rest(idle) == b""
        busy[1].write(b"}")
        assert (await rest(busy)).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("setting", ["max_connections", "max_peer_connections"])
async def test_connections_beyond_a_bound_get_503(
    start_server: StartServer, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    monkeypatch.setattr(server, "peer_name", lambda peername: str(peername[0]))
    async with start_server(**{setting: 2}) as client, sockets(client, 2) as held:
        for _, writer in held:
            writer.write(b"GET ")
        async with sockets(client, 1) as [refused]:
            answer = await rest(refused)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"Retry-After: 1\r\n" in answer
        assert b'"server_error"' in answer
        held[0][1].write(b"/healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert (await rest(held[0])).startswith(b"HTTP/1.1 200")
        async with sockets(client, 1) as [accepted]:
            accepted[1].write(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert (await rest(accepted)).startswith(b"HTTP/1.1 200")


async def test_accept_stops_with_503_before_the_descriptors_run_out(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The descriptors of this test's process are beyond the bound already.
    monkeypatch.setattr(connections, "_usable_files", lambda: 3)
    async with sockets(client, 1) as [refused]:
        assert (await rest(refused)).startswith(b"HTTP/1.1 503 ")


def test_refusals_are_logged_once_a_minute() -> None:
    limits = ConnectionLimits(max_connections=1, max_of_peer=1)
    with structlog.testing.capture_logs() as lines:
        assert [limits.reserve("192.0.2.1", 5) for _ in range(3)] == [True, False, False]
    assert [(line["event"], line["reason"]) for line in lines] == [("connection_refused", "max_connections")]
    limits.release("192.0.2.1")
    assert limits.count == 0


@pytest.mark.parametrize(
    ("address", "peer"),
    [
        ("127.0.0.1", ""),
        ("::1", ""),
        ("::ffff:127.0.0.1", ""),
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_the_peer_of_an_address(address: str, peer: str) -> None:
    assert peer_name((address, 1)) == peer


async def test_exhausted_descriptors_are_logged_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    with structlog.testing.capture_logs() as lines:
        async with log_exhausted_files(loop):
            for _ in range(3):
                exhausted = OSError(errno.EMFILE, "Too many open files")
                loop.call_exception_handler({"message": "accept", "exception": exhausted})
    assert [line["event"] for line in lines] == ["file_descriptors_exhausted"]


def test_a_log_event_is_due_again_after_a_minute() -> None:
    times = iter([0.0, 59.0, 60.0, 61.0])
    limit = LogLimit(lambda: next(times))
    assert [limit.is_due() for _ in range(4)] == [True, False, True, False]


def test_the_soft_limit_is_raised_to_the_hard_one() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard - 1, hard))
        raise_file_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
