"""A receiver of webhooks: a real server, which verifies every message with the library of the specification."""

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
class ReceivedMessage:
    """A message, and the status of the answer."""

    id: str
    path: str
    raw: bytes
    event: Any
    status: int
    is_verified: bool

    @property
    def type(self) -> str:
        event_type: str = self.event["type"]
        return event_type


class Receiver:
    """`answer` returns the status for a message. A message for which `must_wait` is true first waits for `may_answer`.
    `secrets` are by path."""

    def __init__(self) -> None:
        self.messages: list[ReceivedMessage] = []
        self.secrets: dict[str, str] = {}
        self.answer: Callable[[Any, str], int] = lambda event, path: 200
        self.must_wait: Callable[[Any, str], bool] = lambda event, path: False
        self.has_waiting = asyncio.Event()
        self.may_answer = asyncio.Event()
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
        self.may_answer.set()
        assert self._runner is not None
        await self._runner.cleanup()

    @property
    def port(self) -> int:
        assert self._runner is not None
        port: int = self._runner.addresses[0][1]
        return port

    def url(self, path: str = "/hook") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    async def until(self, enough: Callable[[list[ReceivedMessage]], bool]) -> list[ReceivedMessage]:
        """Waits until `enough` is true, and returns all messages."""
        async with asyncio.timeout(WAIT_S):
            while not enough(self.messages):
                self._changed.clear()
                await self._changed.wait()
        return self.messages

    async def types(self, *expected: str, path: str = "/hook") -> list[ReceivedMessage]:
        """Waits for messages that were accepted at the path; they must have these types, in this order. Returns
        them."""

        def find_accepted(messages: list[ReceivedMessage]) -> list[ReceivedMessage]:
            return [message for message in messages if message.path == path and message.status == 200]

        try:
            await self.until(lambda messages: len(find_accepted(messages)) >= len(expected))
        finally:
            assert [message.type for message in find_accepted(self.messages)] == list(expected)
        return find_accepted(self.messages)

    async def wait_for_message(self) -> None:
        """Waits until a message waits for `may_answer`."""
        async with asyncio.timeout(WAIT_S):
            await self.has_waiting.wait()

    async def _take(self, request: web.Request) -> web.Response:
        raw = await request.read()
        event = orjson.loads(raw)
        if self.must_wait(event, request.path):
            self.has_waiting.set()
            await self.may_answer.wait()
        status = self.answer(event, request.path)
        secret = self.secrets.get(request.path)
        is_verified = secret is not None and Webhook(secret).verify(raw, dict(request.headers)) == event
        self.messages.append(
            ReceivedMessage(request.headers["webhook-id"], request.path, raw, event, status, is_verified)
        )
        self._changed.set()
        return web.Response(status=status, headers={"Location": "/elsewhere"} if 300 <= status < 400 else None)
