"""Watchers of one run: many clients that read the same stream, and the pieces of text that they get."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

from scripts.bench_model import TOKENS
from scripts.bench_processes import Server
from scripts.bench_targets import HEADERS

MARK = b"event: thread.message.delta\n"
READY = b"retry: "
WAIT_S = 120.0
# Connections that are opened at once.
OPENING = 50


@dataclass(slots=True)
class WatcherRates:
    """Pieces of text that all watchers got, the seconds from the first to the last, and the server's CPU time."""

    watchers: int
    pieces: int = 0
    seconds: float = 0.0
    server_cpu: float = 0.0

    @property
    def per_s(self) -> float:
        return self.pieces / self.seconds

    @property
    def per_cpu_s(self) -> float:
        """Pieces in a second of the server's CPU time: the rate of a server with a core of its own."""
        return self.pieces / self.server_cpu


class WatcherClient(asyncio.Protocol):
    """One watcher. It counts the pieces, and does not parse the rest."""

    def __init__(self, request: bytes, pieces: int) -> None:
        self._request = request
        self._left = pieces
        self._tail = b""
        self.is_ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.is_done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.first = self.last = 0.0
        self.pieces = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.WriteTransport, transport).write(self._request)  # uvloop's class has another base

    def data_received(self, data: bytes) -> None:
        data = self._tail + data
        self._tail = data[-len(MARK) + 1 :]
        if not self.is_ready.done() and READY in data:
            self.is_ready.set_result(None)
        found = data.count(MARK)
        if found:
            self.pieces += found
            self.last = time.perf_counter()
            self.first = self.first or self.last
            if self.pieces >= self._left and not self.is_done.done():
                self.is_done.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        for future in (self.is_ready, self.is_done):
            if not future.done():
                future.set_exception(ConnectionError(f"the stream ended after {self.pieces} pieces: {error}"))


async def watch(rates: WatcherRates, server: Server, url: str, start: Callable[[], Awaitable[object]]) -> None:
    """Opens the watchers of `url`, and begins the stream by `start`. Ends when every watcher has TOKENS pieces."""
    parts = urlsplit(url)
    lines = [
        f"GET {parts.path} HTTP/1.1",
        f"Host: {parts.netloc}",
        *(f"{name}: {value}" for name, value in HEADERS.items()),
    ]
    request = "\r\n".join([*lines, "", ""]).encode()
    loop, opening = asyncio.get_running_loop(), asyncio.Semaphore(OPENING)
    assert parts.hostname is not None
    assert parts.port is not None
    host, port = parts.hostname, parts.port

    async def open_one() -> tuple[asyncio.BaseTransport, WatcherClient]:
        async with opening:
            opened = await loop.create_connection(lambda: WatcherClient(request, TOKENS), host, port)
            await asyncio.wait_for(opened[1].is_ready, WAIT_S)
            return opened

    opened = await asyncio.gather(*(open_one() for _ in range(rates.watchers)))
    clients = [client for _, client in opened]
    cpu = server.cpu()
    starting = asyncio.ensure_future(start())
    await asyncio.wait_for(asyncio.gather(*(client.is_done for client in clients)), WAIT_S)
    rates.server_cpu += server.cpu() - cpu
    rates.seconds += max(client.last for client in clients) - min(client.first for client in clients)
    rates.pieces += sum(client.pieces for client in clients)
    await starting
    for transport, _ in opened:
        transport.close()
