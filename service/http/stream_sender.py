"""Writes a streamed answer to its client, and breaks the connection of a client that does not read."""

from __future__ import annotations

import asyncio

import aiohttp
from aiohttp import web

from service.http.responses import WRITE_TIMEOUT, ClientDisconnected
from service.tasks.watchdog import Watchdog


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

    async def send(self, data: bytes) -> None:
        """Writes to the client. Raises ClientDisconnected if it is away, or has not read for WRITE_TIMEOUT."""
        self._watchdog.start(self._time() + WRITE_TIMEOUT)
        try:
            await self._response.write(data)
        except (ConnectionError, aiohttp.ClientConnectionError) as error:
            raise ClientDisconnected from error
        finally:
            self._watchdog.stop()
        if self._has_expired:
            raise ClientDisconnected

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
