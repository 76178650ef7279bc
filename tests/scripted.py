"""A scripted model server: a real aiohttp server on loopback that implements the chat completions API.

In a test, in the same event loop:

    async with ScriptedServer() as server:
        server.script(calls(("weather", {"city": "Paris"})), says("It rains."))
        ...                                          # the program under test calls server.base_url
        request = await server.next_request()        # the next request's JSON, in order of arrival
        server.script(says("a b c").waits("middle", before=2))
        await server.wait_for_gate("middle")         # the reply waits at its gate
        server.open_gate("middle")
        await server.wait_for_disconnect()           # a client disconnected during a reply

As a process: `python -m tests.scripted --port N [--tokens 64] [--pace-ms 0]`, with POST /control and GET
/control/requests (see `ScriptedServer._control`). It prints `listening on http://127.0.0.1:N/v1` when it listens.

A request gets the reply of `check` if that returns one (a server that refuses some requests, see
`tests/model_servers.py`), or else the first reply in the queue whose predicate accepts it, or else the default reply.
Only paced replies sleep, and each wait ends with an error after WAIT_S.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

import orjson
import uvloop
from aiohttp import web

from tests.scripted_replies import (
    BREAK,
    DROP,
    GATE,
    HANG,
    MODEL,
    Reply,
    breaks_after,
    calls,
    chunk,
    cuts_off,
    drops,
    errors,
    hangs,
    hits_filter,
    refuses,
    reply_from_json,
    says,
    tokens,
    usage_of,
)

__all__ = [
    "Reply",
    "ScriptedServer",
    "breaks_after",
    "calls",
    "chunk",
    "cuts_off",
    "drops",
    "errors",
    "hangs",
    "hits_filter",
    "refuses",
    "reply_from_json",
    "says",
    "tokens",
    "usage_of",
]

WAIT_S = 60.0  # a test that waits longer for an event fails
MAX_BODY = 64 * 1024 * 1024  # bytes of a request
MAX_KEPT = 10_000  # requests that are kept; a benchmark sends many more

Json = dict[str, Any]
Predicate = Callable[[Json], bool]
Check = Callable[[Json], Reply | None]
T = TypeVar("T")


def _has_text(text: str) -> Predicate:
    return lambda request: text.encode() in orjson.dumps(request)


class ScriptedServer:
    """The server. `requests`, `headers` and `bodies` hold the requests, oldest first; `default` is the reply if no
    scripted reply matches."""

    def __init__(self, default: Reply | None = None, port: int = 0) -> None:
        self.default = default or says("Hello from the scripted model.")
        self.check: Check = lambda request: None
        self.requests: deque[Json] = deque(maxlen=MAX_KEPT)
        self.headers: deque[Mapping[str, str]] = deque(maxlen=MAX_KEPT)
        self.bodies: deque[bytes] = deque(maxlen=MAX_KEPT)
        self.disconnects = 0
        self.model_list_requests = 0
        self._port = port
        self._queue: list[tuple[Reply, Predicate]] = []
        self._arrived: asyncio.Queue[Json] = asyncio.Queue()
        self._disconnected: asyncio.Queue[None] = asyncio.Queue()
        self._gates: dict[str, tuple[asyncio.Event, asyncio.Event]] = {}  # reached, opened
        self._peers: set[tuple[str, int]] = set()
        self._runner: web.AppRunner | None = None

    # For tests.

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def base_url(self) -> str:
        """The base URL for clients."""
        return self.origin + "/v1"

    def script(self, *replies: Reply, when: Predicate | None = None) -> None:
        """Queues replies, each for one request. With `when`, they are for requests whose JSON it accepts."""
        self._queue.extend((reply, when or (lambda _: True)) for reply in replies)

    @property
    def connections(self) -> int:
        """The number of connections that have requested a completion; it shows whether a client reuses them."""
        return len(self._peers)

    @property
    def ports(self) -> set[int]:
        """The clients' ports of these connections."""
        return {port for _, port in self._peers}

    def unused_count(self) -> int:
        """Returns the number of scripted replies that are still in the queue."""
        return len(self._queue)

    async def next_request(self) -> Json:
        """Returns the JSON of the next request, after those that earlier calls returned."""
        return await self._within(self._arrived.get(), "a request")

    async def wait_for_disconnect(self) -> None:
        """Waits until another client has disconnected during a reply."""
        await self._within(self._disconnected.get(), "a disconnect")

    async def wait_for_gate(self, gate: str) -> None:
        """Waits until a reply waits at this gate or has passed it."""
        await self._within(self._gate(gate)[0].wait(), f"a reply at gate {gate!r}")

    def open_gate(self, gate: str) -> None:
        """Opens the gate, for the replies that wait and for later ones."""
        self._gate(gate)[1].set()

    async def start(self) -> Self:
        app = web.Application(client_max_size=MAX_BODY)
        for path in ("/v1/chat/completions", "/v1/completions", "/v1/embeddings"):
            app.router.add_post(path, self._complete)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/control", self._control)
        app.router.add_get("/control/requests", self._report)
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()
        self._port = self._runner.addresses[0][1]
        return self

    async def close(self) -> None:
        for _, opened in self._gates.values():
            opened.set()
        if self._runner is not None:
            await self._runner.cleanup()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # The implementation.

    async def _within(self, event: Awaitable[T], name: str) -> T:
        try:
            return await asyncio.wait_for(event, WAIT_S)
        except TimeoutError:
            raise AssertionError(f"the scripted model server waited {WAIT_S} s for {name}") from None

    def _gate(self, name: str) -> tuple[asyncio.Event, asyncio.Event]:
        return self._gates.setdefault(name, (asyncio.Event(), asyncio.Event()))

    async def _pass(self, name: str) -> None:
        reached, opened = self._gate(name)
        reached.set()
        await opened.wait()

    def _next(self, request: Json) -> Reply:
        for at, (reply, holds) in enumerate(self._queue):
            if holds(request):
                del self._queue[at]
                return reply
        return self.default

    async def _complete(self, http: web.Request) -> web.StreamResponse:
        request: Json = orjson.loads(raw := await http.read())
        self.bodies.append(raw)
        assert http.transport is not None
        self._peers.add(http.transport.get_extra_info("peername")[:2])
        reply = self.check(request) or self._next(request)
        self.requests.append(request)
        self.headers.append(http.headers)
        if self._arrived.qsize() < MAX_KEPT:
            self._arrived.put_nowait(request)
        try:
            return await self._answer(http, request, reply)
        except (asyncio.CancelledError, ConnectionError):
            self.disconnects += 1
            self._disconnected.put_nowait(None)
            raise

    async def _answer(self, http: web.Request, request: Json, reply: Reply) -> web.StreamResponse:
        if reply.gate is not None:
            await self._pass(reply.gate)
        assert http.transport is not None
        if reply.status == DROP:
            http.transport.abort()
            return web.Response()
        if reply.status == 200 and not request.get("stream"):
            return web.Response(body=orjson.dumps(reply.message), content_type="application/json")
        response = web.StreamResponse(status=reply.status, headers={"content-type": "text/event-stream"})
        response.headers.update(reply.headers)
        await response.prepare(http)
        for frame in reply.frames:
            if isinstance(frame, bytes):
                await response.write(frame)
                if reply.pace_s:
                    await asyncio.sleep(reply.pace_s)
            elif frame == BREAK:
                http.transport.abort()
                return response
            elif frame == HANG:
                await asyncio.Event().wait()
            else:
                await self._pass(frame.removeprefix(GATE))
        await response.write_eof()
        return response

    async def _models(self, http: web.Request) -> web.Response:
        self.model_list_requests += 1
        model = {"id": MODEL, "object": "model", "created": 1, "owned_by": "tests"}
        return web.json_response({"object": "list", "data": [model]})

    async def _control(self, http: web.Request) -> web.Response:
        """Handles POST /control. All keys are optional; it answers like GET /control/requests.

        {"reset": true, "default": REPLY, "script": [REPLY, …], "open": ["gate", …], "reached": "gate"}

        REPLY is described at `scripted_replies.reply_from_json`, plus "when": a text that the request's JSON must
        contain. `reached` delays the answer until a reply waits at that gate.
        """
        order: Json = orjson.loads(await http.read())
        if order.get("reset"):
            self._queue.clear()
            self.requests.clear()
            self.headers.clear()
            self.disconnects = 0
            self._gates.clear()
        if "default" in order:
            self.default = reply_from_json(order["default"])
        for description in order.get("script", ()):
            self.script(reply_from_json(description), when=_has_text(description.get("when", "")))
        for gate in order.get("open", ()):
            self.open_gate(gate)
        if "reached" in order:
            await self.wait_for_gate(order["reached"])
        return await self._report(http)

    async def _report(self, _: web.Request) -> web.Response:
        """Handles GET /control/requests: the requests, the number of unused replies, and the gates at which replies
        wait."""
        waiting = [name for name, (reached, opened) in self._gates.items() if reached.is_set() and not opened.is_set()]
        report = {"requests": list(self.requests), "unused": self.unused_count(), "disconnects": self.disconnects}
        body = orjson.dumps({**report, "waiting": waiting, "connections": self.connections})
        return web.Response(body=body, content_type="application/json")


async def _serve(port: int, default: Reply) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop.set)
    async with ScriptedServer(default, port) as server:
        print(f"listening on {server.base_url}", flush=True)
        await stop.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description="A scripted model server.")
    parser.add_argument("--port", type=int, default=0, help="0: any free port")
    parser.add_argument("--tokens", type=int, default=64, help="pieces of the default reply")
    parser.add_argument("--pace-ms", type=float, default=0.0, help="milliseconds between them; 0: no pause")
    given = parser.parse_args()
    uvloop.run(_serve(given.port, tokens(given.tokens, given.pace_ms)))


if __name__ == "__main__":
    main()
