"""A bare fan-out to measure watchers against: every client of GET /stream gets the same server-sent events.

POST /start writes TOKENS pieces of text, one every PACE_MS, to each open stream, and ends the streams. It has no keys,
no threads and no queues: a client that does not read stops all others.

`python -m scripts.bench_fanout` prints `listening on http://127.0.0.1:N` when it listens.
"""

from __future__ import annotations

import asyncio
import signal

import orjson
import uvloop
from aiohttp import web

from scripts.bench_model import PACE_MS, TOKENS

_DELTA = {"id": "msg_0123456789abcdef", "object": "thread.message.delta"}


def frame(number: int) -> bytes:
    """Returns a piece of text as an event of the API's size."""
    content = [{"index": 0, "type": "text", "text": {"value": f" token{number % 10}"}}]
    return b"event: thread.message.delta\ndata: " + orjson.dumps({**_DELTA, "delta": {"content": content}}) + b"\n\n"


class Fanout:
    def __init__(self) -> None:
        self._streams: list[web.StreamResponse] = []
        self._end = asyncio.Event()

    async def stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"retry: 1000\n\n")
        self._streams.append(response)
        await self._end.wait()
        return response

    async def start(self, _: web.Request) -> web.Response:
        loop = asyncio.get_running_loop()
        began = loop.time()
        for number in range(TOKENS):
            await asyncio.sleep(max(0.0, began + number * PACE_MS / 1000 - loop.time()))
            data = frame(number)
            for response in self._streams:
                await response.write(data)
        self._streams.clear()
        self._end.set()
        self._end = asyncio.Event()
        return web.Response()


async def _serve() -> None:
    stop = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    fanout, application = Fanout(), web.Application()
    application.router.add_get("/stream", fanout.stream)
    application.router.add_post("/start", fanout.start)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=4096).start()
    print(f"listening on http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await stop.wait()
    await runner.cleanup()


if __name__ == "__main__":
    uvloop.run(_serve())
