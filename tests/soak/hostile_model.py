"""The model server of a soak: it answers by markers in the prompt, and often badly. It also checks every prompt.

A user's message holds a marker, `<<thread:number:order>>`. The order says what the model does: `plain` (text),
`function` or `code` (a call of this tool, then text).
"""

from __future__ import annotations

import asyncio
import random
import re
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

from tests.scripted_replies import DONE, calls, chunk

Json = dict[str, Any]
MARKER = re.compile(r"<<(\w+):(\d+):(\w+)>>")
# Shares of calls that the model answers badly.
BAD_SHARES = {
    "broken": 0.03,
    "error": 0.02,
    "rate_limit": 0.02,
    "html": 0.015,
    "garbage": 0.015,
    "hangs": 0.005,
    "slow": 0.02,
    "endless": 0.003,
}
WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "and", "runs", "home", "again"]
SLOW_PIECE_S = 0.4
PIECE_S = (0.002, 0.03)
ENDLESS_PIECE = "word " * 2_000
# Bytes at which an endless answer ends by itself, far above the bound of the server.
ENDLESS_BYTES = 64 * 1024 * 1024


@dataclass(slots=True)
class ModelRecord:
    """The answers of the model, and the faults of prompts that it got. `said` maps each whole answer to its marker."""

    calls: int = 0
    said: dict[str, str] = field(default_factory=dict)
    kinds: Counter[str] = field(default_factory=Counter)
    # Markers whose calls the model answered badly at least once.
    badly_answered: set[str] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)


class HostileModel:
    """The server. `stop_listening` and `listen` make it disappear and come back, on the same port."""

    def __init__(self, seed: int) -> None:
        self.record = ModelRecord()
        self._calm = asyncio.Event()
        self.port = 0
        self._random = random.Random(seed)
        self._runner: web.AppRunner | None = None
        self._serial = 0

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def become_calm(self) -> None:
        """Answers well and at once from now on, and ends the answers that hang."""
        self._calm.set()

    async def listen(self) -> None:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_post("/v1/chat/completions", self._complete)
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()
        self.port = self._runner.addresses[0][1]

    async def stop_listening(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _complete(self, http: web.Request) -> web.StreamResponse:
        prompt: Json = orjson.loads(await http.read())
        self.record.calls += 1
        markers = self._check_prompt(prompt["messages"])
        if not markers:
            return await self._say(http, "good", "probe")
        thread, number, order = markers[-1]
        key = f"{thread}:{number}"
        kind = self._draw_kind()
        self.record.kinds[kind] += 1
        if kind != "good":
            self.record.badly_answered.add(key)
        if kind == "error":
            return web.json_response({"error": {"message": "overloaded"}}, status=self._random.choice([500, 502, 503]))
        if kind == "rate_limit":
            return web.json_response({"error": {"message": "slow down"}}, status=429, headers={"Retry-After": "1"})
        if kind == "html":
            return web.Response(text="<html><body>Bad gateway</body></html>", content_type="text/html")
        if kind == "garbage":
            return web.Response(body=self._random.randbytes(2_000), content_type="text/event-stream")
        if order in ("function", "code") and prompt["messages"][-1]["role"] != "tool" and prompt.get("tools"):
            name = prompt["tools"][0]["function"]["name"]
            given = {"code": f"x = {number}\nprint('{key}')"} if order == "code" else {"key": key}
            self._serial += 1
            reply = calls((name, given), ids=[f"call_{self._serial}"])
            return await self._send(http, kind, [each for each in reply.frames if isinstance(each, bytes)])
        return await self._say(http, kind, key)

    async def _say(self, http: web.Request, kind: str, key: str) -> web.StreamResponse:
        if kind == "endless":
            piece = chunk({"content": ENDLESS_PIECE})
            return await self._send(http, kind, [piece] * (ENDLESS_BYTES // len(piece)))
        self._serial += 1
        count = self._random.randint(4, 40)
        pieces = [f"[{key}#{self._serial}]", *(f" {self._random.choice(WORDS)}" for _ in range(count))]
        self.record.said["".join(pieces)] = key
        frames = [chunk({"role": "assistant", "content": ""}), *(chunk({"content": piece}) for piece in pieces)]
        frames += [chunk({}, "stop"), chunk(None, usage={"prompt_tokens": 9, "completion_tokens": count}), DONE]
        return await self._send(http, kind, frames)

    async def _send(self, http: web.Request, kind: str, frames: list[bytes]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        with suppress(ConnectionError):  # the server has left, or was killed
            await self._send_frames(http, response, kind, frames)
        return response

    async def _send_frames(
        self, http: web.Request, response: web.StreamResponse, kind: str, frames: list[bytes]
    ) -> None:
        await response.prepare(http)
        pause = {"slow": SLOW_PIECE_S, "endless": 0.001}.get(kind, self._random.uniform(*PIECE_S))
        end = self._random.randrange(len(frames)) if kind in ("broken", "hangs") else len(frames)
        for frame in frames[:end]:
            await response.write(frame)
            await asyncio.sleep(0 if self._calm.is_set() else pause)
        if kind == "hangs":
            await self._calm.wait()
        if kind in ("broken", "hangs") and http.transport is not None:
            http.transport.abort()
            return
        await response.write_eof()

    def _draw_kind(self) -> str:
        if self._calm.is_set():
            return "good"
        drawn = self._random.random()
        for kind, share in BAD_SHARES.items():
            if drawn < share:
                return kind
            drawn -= share
        return "good"

    def _check_prompt(self, messages: list[Json]) -> list[tuple[str, int, str]]:
        """Returns the markers of the users' messages. Notes if one is doubled, out of order or of another thread."""
        found = [
            (match[1], int(match[2]), match[3])
            for message in messages
            if message["role"] == "user"
            for match in MARKER.finditer(_text(message["content"]))
        ]
        numbers = [number for _, number, _ in found]
        if len({thread for thread, _, _ in found}) > 1 or numbers != sorted(set(numbers)):
            self.record.faults.append(f"a prompt holds {found}")
        said = [_text(message["content"]) for message in messages if message["role"] == "assistant"]
        answers = [text for text in said if text in self.record.said]
        if len(answers) != len(set(answers)):
            self.record.faults.append(f"a prompt holds an answer twice: {answers}")
        return found


def _text(content: Any) -> str:
    """Returns the text of a message's content."""
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content or ())
