"""Messages between the parent and a worker: JSON objects, one a line, on a pair of connected sockets."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import Any, Self

import orjson

# Bytes of one message at most: all counts of the metrics are below a tenth of this.
MAX_MESSAGE = 16 * 1024 * 1024
# Seconds between two signs of life that a worker sends.
BEAT_EVERY_S = 0.5
CLOSE_TIMEOUT_S = 1.0
# A message: its `kind`, and the fields of that kind.
Message = dict[str, Any]


class Channel:
    """One end of a connection between the parent and a worker."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, end: socket.socket) -> Self:
        """Takes over this end of a pair of sockets."""
        end.setblocking(False)
        reader, writer = await asyncio.open_unix_connection(sock=end, limit=MAX_MESSAGE)
        return cls(reader, writer)

    def send(self, kind: str, **fields: Any) -> None:
        """Sends a message without waiting for it. Nothing happens if the other process has ended."""
        if not self._writer.is_closing():
            self._writer.write(orjson.dumps({"kind": kind, **fields}) + b"\n")

    async def receive(self) -> Message | None:
        """Returns the next message, or None if the other process has ended or sent what is no message."""
        try:
            line = await self._reader.readline()
            message = orjson.loads(line) if line.endswith(b"\n") else None
        except (ConnectionError, ValueError):
            return None
        return message if isinstance(message, dict) else None

    async def close(self) -> None:
        """Closes the channel when all messages are sent, or after CLOSE_TIMEOUT_S seconds."""
        self._writer.close()
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._writer.wait_closed()
