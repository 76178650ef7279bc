"""A TCP proxy between the clients and the server, whose connections can be cut."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress

CHUNK = 64 * 1024


class CuttingProxy:
    """Forwards connections to a port of this machine. `cut` breaks some of them, in the middle of anything."""

    def __init__(self, target: int) -> None:
        self.port = 0
        self._target = target
        self._server: asyncio.Server | None = None
        self._pairs: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        self.cut(1.0, random.Random(0))

    def cut(self, share: float, source: random.Random) -> int:
        """Resets this share of the connections, on both sides. Returns how many."""
        chosen = [pair for pair in self._pairs if source.random() < share]
        for pair in chosen:
            for writer in pair:
                writer.transport.abort()
        return len(chosen)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            upstream_reader, upstream = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        pair = (writer, upstream)
        self._pairs.add(pair)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_forward(reader, upstream))
                tasks.create_task(_forward(upstream_reader, writer))
        except* OSError:
            pass
        finally:
            self._pairs.discard(pair)
            for each in pair:
                each.transport.abort()


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copies bytes until the sender ends its side. The other side then ends, too."""
    while data := await reader.read(CHUNK):
        writer.write(data)
        await writer.drain()
    with suppress(OSError, RuntimeError):
        writer.write_eof()
