"""Writes a streamed answer to its client, and breaks the connection of a client that does not read."""

from __future__ import annotations

import asyncio

import aiohttp
from aiohttp import web

from service.http.responses import WRITE_TIMEOUT, ClientDisconnected
from service.tasks.watchdog import Watchdog

STREAM_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",
}
# Seconds of silence after which a stream sends a comment, so that proxies and clients do not give it up: a run may wait
# long for its turn, or for its model. Parsers of server-sent events ignore comments.
KEEP_ALIVE_S = 15.0
# A comment without an empty line: behind frames with ids, official SDKs take an empty line for an event without data,
# and raise an exception.
KEEP_ALIVE = b": keep-alive\n"


class StreamSender:
    """Sends the pieces of a response that has been prepared. Must be closed at its end.

    A slow client costs the buffers of its connection, and delays its own stream alone: `send` waits while they are
    full. One watchdog covers all waits. A client that has read nothing for WRITE_TIMEOUT seconds is disconnected.
    """

    def __init__(self, request: web.Request, response: web.StreamResponse) -> None:
        self._request = request
        self._response = response
        self._time = asyncio.get_running_loop().time
        self._watchdog = Watchdog(self._expire)
        self._has_expired = False
        self._last_write = self._time()

    async def send(self, data: bytes) -> None:
        """Writes to the client. Raises ClientDisconnected if it is away, or has not read for WRITE_TIMEOUT."""
        self._last_write = now = self._time()
        self._watchdog.start(now + WRITE_TIMEOUT)
        try:
            await self._response.write(data)
        except (ConnectionError, aiohttp.ClientConnectionError) as error:
            raise ClientDisconnected from error
        finally:
            self._watchdog.stop()
        if self._has_expired:
            raise ClientDisconnected

    async def keep_alive(self) -> None:
        """Sends a comment if nothing was sent for KEEP_ALIVE_S seconds. Raises ClientDisconnected if it is away."""
        transport = self._request.transport
        if transport is None or transport.is_closing():
            raise ClientDisconnected
        if self._time() - self._last_write >= KEEP_ALIVE_S:
            await self.send(KEEP_ALIVE)

    async def end(self) -> None:
        """Writes the end of the response. Raises as `send` does."""
        try:
            await self._response.write_eof()
        except (ConnectionError, aiohttp.ClientConnectionError) as error:
            raise ClientDisconnected from error

    def break_off(self) -> None:
        """Closes the connection at once, without the end of the response."""
        if self._request.transport is not None:
            self._request.transport.abort()

    def close(self) -> None:
        """Ends the watchdog."""
        self._watchdog.close()

    def _expire(self) -> None:
        self._has_expired = True
        self.break_off()
