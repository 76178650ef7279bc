"""An embedding server for tests: a text's vector counts its words by hash, so texts with the same words are similar."""

from __future__ import annotations

import asyncio
import hashlib
from types import TracebackType
from typing import Any, Self

from aiohttp import web


class EmbeddingServer:
    """Answers requests for embeddings. Each request first takes an entry of `answers`: a status, a malformed body ("{}"
    or "short"), or None for a normal answer. While `may_answer` is not set, requests wait."""

    def __init__(self) -> None:
        self.dimensions = 8
        self.answers: list[int | str | None] = []
        self.requests = 0
        self.seen: list[dict[str, Any]] = []
        self.was_called = asyncio.Event()
        self.held = asyncio.Event()
        self.held.set()
        self._runner: web.AppRunner | None = None
        self.base_url = ""

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=64 << 20)
        app.router.add_post("/v1/embeddings", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.base_url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.requests += 1
        self.seen.append(
            {"authorization": request.headers["Authorization"], "model": body["model"], "input": body["input"]}
        )
        self.was_called.set()
        await self.held.wait()
        data = [{"index": n, "embedding": self._vector(text)} for n, text in enumerate(body["input"])]
        match self.answers.pop(0) if self.answers else None:
            case int() as status:
                headers = {"retry-after-ms": "1"}
                return web.json_response({"error": {"message": "not now"}}, status=status, headers=headers)
            case "short":
                data = []
            case str():
                return web.json_response({})
            case None:
                pass
        return web.json_response({"object": "list", "data": data[::-1], "model": body["model"]})

    def _vector(self, text: str) -> list[float]:
        vector = [0.01] * self.dimensions
        for word in text.lower().split():
            vector[hashlib.sha256(word.encode()).digest()[0] % self.dimensions] += 1.0
        return vector
