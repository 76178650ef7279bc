"""A real server process that runs out of file descriptors refuses connections, says so once, and goes on serving."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import psutil
import pytest

from tests.client import KEY, Client
from tests.forked import ForkedServer
from tests.scripted import ScriptedServer

BURST = 100
POLL_S = 0.05
WITHIN_S = 30.0
# A refusal is an answer of 503, or the end of the connection if there is no descriptor to send it on.
REFUSED = {b"HTTP/1.1 503", b""}
_HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Stops the process while the context lasts, so that connections wait in the backlog of its listener."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def answer_of(connection: socket.socket) -> bytes:
    """Returns what the server sent until it closed the connection."""
    received = b""
    try:
        while piece := connection.recv(65_536):
            received += piece
    except ConnectionResetError:
        pass
    return received


def burst(server: ForkedServer) -> list[bytes]:
    """Makes BURST requests on connections that are all open before the server accepts one.

    Returns the first bytes of the answers, which are empty if the server closed the connection.
    """
    where = urlsplit(server.base_url)
    with ExitStack() as stack:
        with frozen(server.pid):
            opened = [
                stack.enter_context(socket.create_connection((where.hostname, where.port), WITHIN_S))
                for _ in range(BURST)
            ]
            for connection in opened:
                connection.sendall(_HEALTH)
        return [answer_of(connection)[:12] for connection in opened]


def logged(log: IO[bytes]) -> bytes:
    return os.pread(log.fileno(), 1 << 20, 0)


@pytest.mark.slow
async def test_the_listener_survives_exhausted_descriptors(
    database_url: str, model: ScriptedServer, tmp_path: Path
) -> None:
    environment = {
        **os.environ,
        "EVERTHREAD_DATABASE_URL": database_url,
        "EVERTHREAD_DATA_DIR": str(tmp_path / "data"),
        "EVERTHREAD_API_KEY": KEY,
        "EVERTHREAD_MODEL_BASE_URL": model.base_url,
        "EVERTHREAD_CODE_INTERPRETER": "off",
        "EVERTHREAD_LOG_LEVEL": "warning",
    }
    with tempfile.TemporaryFile() as log:
        async with ForkedServer(environment, stderr=log.fileno()) as server, Client(server.base_url) as client:
            await client.get("/models")
            soft, hard = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
            resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (psutil.Process(server.pid).num_fds(), hard))
            assert set(await asyncio.to_thread(burst, server)) <= REFUSED
            while b"file_descriptors_exhausted" not in logged(log):
                await asyncio.sleep(POLL_S)
            assert set(await asyncio.to_thread(burst, server)) <= REFUSED
            resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (soft, hard))
            assert set(await asyncio.to_thread(burst, server)) == {b"HTTP/1.1 200"}
            async with Client(server.base_url) as later:
                await later.get("/models")
        lines = logged(log).splitlines()
    assert len([line for line in lines if b"file_descriptors_exhausted" in line]) == 1
    assert len([line for line in lines if b"connection_refused" in line]) <= 1
