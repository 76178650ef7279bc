"""A receiver of webhooks: a real server, which checks every message with the spec's own library."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import orjson
from aiohttp import web
from standardwebhooks import Webhook

WAIT_S = 20.0


@dataclass(frozen=True, slots=True)
class Got:
    """A message, and the status that it was answered with."""

    id: str
    path: str
    raw: bytes
    event: Any
    status: int
    verified: bool

    @property
    def type(self) -> str:
        found: str = self.event["type"]
        return found


class Receiver:
    """`answer` gives the status for a message; one that is `held` waits for `opened` first. `secrets` are by path."""

    def __init__(self) -> None:
        self.got: list[Got] = []
        self.secrets: dict[str, str] = {}
        self.answer: Callable[[Any, str], int] = lambda event, path: 200
        self.held: Callable[[Any, str], bool] = lambda event, path: False
        self.standing = asyncio.Event()
        self.opened = asyncio.Event()
        self._changed = asyncio.Event()
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post("/{path:.*}", self._take)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.opened.set()
        assert self._runner is not None
        await self._runner.cleanup()

    @property
    def port(self) -> int:
        assert self._runner is not None
        port: int = self._runner.addresses[0][1]
        return port

    def url(self, path: str = "/hook") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    async def until(self, enough: Callable[[list[Got]], bool]) -> list[Got]:
        """All messages once there are enough."""
        async with asyncio.timeout(WAIT_S):
            while not enough(self.got):
                self._changed.clear()
                await self._changed.wait()
        return self.got

    async def types(self, *expected: str, path: str = "/hook") -> list[Got]:
        """The messages taken at a path, once they are of these types, in this order."""

        def taken(got: list[Got]) -> list[Got]:
            return [one for one in got if one.path == path and one.status == 200]

        try:
            await self.until(lambda got: len(taken(got)) >= len(expected))
        finally:
            assert [one.type for one in taken(self.got)] == list(expected)
        return taken(self.got)

    async def stand(self) -> None:
        """Returns once a held message is here."""
        async with asyncio.timeout(WAIT_S):
            await self.standing.wait()

    async def _take(self, request: web.Request) -> web.Response:
        raw = await request.read()
        event = orjson.loads(raw)
        if self.held(event, request.path):
            self.standing.set()
            await self.opened.wait()
        status = self.answer(event, request.path)
        secret = self.secrets.get(request.path)
        verified = secret is not None and Webhook(secret).verify(raw, dict(request.headers)) == event
        self.got.append(Got(request.headers["webhook-id"], request.path, raw, event, status, verified))
        self._changed.set()
        return web.Response(status=status, headers={"Location": "/elsewhere"} if 300 <= status < 400 else None)
