"""The clients of `scripts/bench`: a turn of the floor, of the relay, and of Everthread.

A turn stores a message in a thread and streams a run to its end; a tool turn also answers the call of a function. The
floor stores nothing: it calls the model server itself. Threads are created before the measurement, so that a turn of
the relay and a turn of Everthread store the same facts.
"""

from __future__ import annotations

import re
import time
from collections import deque
from dataclasses import dataclass
from typing import Any, Protocol

import aiohttp
import orjson

from scripts.bench_model import KINDS

KEY = "sk-bench"
HEADERS = {"Authorization": f"Bearer {KEY}", "OpenAI-Beta": "assistants=v2", "Content-Type": "application/json"}
TEXT = "Tell me something."
OUTPUT = "sunny"
_ACTION = re.compile(rb"event: thread\.run\.requires_action\ndata: (.+)\n")
_FUNCTION = {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
_TOOLS = [{"type": "function", "function": _FUNCTION}]


@dataclass(frozen=True, slots=True)
class TurnTimes:
    """The times of a turn in seconds: `first` from the request for the run to the first token, `whole` of all of it."""

    first: float
    whole: float


class Target(Protocol):
    name: str

    async def prepare(self, threads: int) -> None:
        """Creates threads until there are so many. Turns use them in rotation."""
        ...

    async def turn(self, kind: str) -> TurnTimes: ...


class Floor:
    name = "floor"

    def __init__(self, http: aiohttp.ClientSession, model_url: str) -> None:
        self._http = http
        self._url = f"{model_url}/chat/completions"

    async def prepare(self, threads: int) -> None:
        pass

    async def turn(self, kind: str) -> TurnTimes:
        started = time.perf_counter()
        messages: list[dict[str, Any]] = [{"role": "user", "content": TEXT}]
        if kind == "tool":
            await read_stream(self._http, self._url, _model_body(kind, messages), b"tool_calls")
            messages += [{"role": "assistant", "content": None}]
            messages += [{"role": "tool", "tool_call_id": "x", "content": OUTPUT}]
        first, _ = await read_stream(self._http, self._url, _model_body(kind, messages), b'"content":" ')
        return TurnTimes(first - started, time.perf_counter() - started)


class RelayTarget:
    name = "relay"

    def __init__(self, http: aiohttp.ClientSession, base_url: str) -> None:
        self._http = http
        self._base_url = base_url
        self._threads: deque[str] = deque()

    async def prepare(self, threads: int) -> None:
        while len(self._threads) < threads:
            self._threads.append((await post(self._http, f"{self._base_url}/threads", b"{}"))["id"])

    async def turn(self, kind: str) -> TurnTimes:
        thread = self._threads.popleft()
        body = orjson.dumps({"thread": thread, "text": TEXT, "model": kind})
        started = time.perf_counter()
        first, _ = await read_stream(self._http, f"{self._base_url}/turn", body, b'{"d":"')
        self._threads.append(thread)
        return TurnTimes(first - started, time.perf_counter() - started)


class EverthreadTarget:
    name = "everthread"

    def __init__(self, http: aiohttp.ClientSession, base_url: str) -> None:
        self._http = http
        self._base_url = base_url
        self._assistants: dict[str, str] = {}
        self._threads: deque[str] = deque()
        self.turns = 0

    async def prepare(self, threads: int) -> None:
        for kind in KINDS if not self._assistants else ():
            body = orjson.dumps({"model": kind, "tools": _TOOLS if kind == "tool" else []})
            self._assistants[kind] = (await post(self._http, f"{self._base_url}/assistants", body))["id"]
        while len(self._threads) < threads:
            self._threads.append((await post(self._http, f"{self._base_url}/threads", b"{}"))["id"])

    async def turn(self, kind: str) -> TurnTimes:
        thread_id = self._threads.popleft()
        thread = f"{self._base_url}/threads/{thread_id}"
        began = time.perf_counter()
        await post(self._http, f"{thread}/messages", orjson.dumps({"role": "user", "content": TEXT}))
        started = time.perf_counter()
        body = orjson.dumps({"assistant_id": self._assistants[kind], "stream": True})
        url, mark = f"{thread}/runs", b"thread.message.delta"
        if kind == "tool":
            _, answer = await read_stream(self._http, url, body, b"thread.run.requires_action")
            action = _ACTION.search(answer)
            assert action is not None, answer[-500:]
            run = orjson.loads(action[1])
            (call,) = run["required_action"]["submit_tool_outputs"]["tool_calls"]
            url += f"/{run['id']}/submit_tool_outputs"
            body = orjson.dumps({"stream": True, "tool_outputs": [{"tool_call_id": call["id"], "output": OUTPUT}]})
        first, answer = await read_stream(self._http, url, body, mark)
        assert b"event: thread.run.completed\n" in answer, answer[-500:]
        self._threads.append(thread_id)
        self.turns += 1
        return TurnTimes(first - started, time.perf_counter() - began)

    async def create_run(self) -> str:
        """Runs a plain turn, and returns the URL of its run."""
        await self.prepare(1)
        thread = f"{self._base_url}/threads/{self._threads[0]}"
        await post(self._http, f"{thread}/messages", orjson.dumps({"role": "user", "content": TEXT}))
        body = orjson.dumps({"assistant_id": self._assistants["plain"], "stream": True})
        _, answer = await read_stream(self._http, f"{thread}/runs", body, b"thread.run.completed")
        found = re.search(rb'"id":"(run_\w+)"', answer)
        assert found is not None, answer[:500]
        return f"{thread}/runs/{found[1].decode()}"

    async def read(self, url: str) -> None:
        """Reads an object, and discards it."""
        async with self._http.get(url, headers=HEADERS) as response:
            answer = await response.read()
            assert response.status == 200, answer


def _model_body(model: str, messages: list[dict[str, Any]]) -> bytes:
    return orjson.dumps({"model": model, "stream": True, "messages": messages})


async def post(http: aiohttp.ClientSession, url: str, body: bytes) -> Any:
    """Sends a body, and returns the JSON of the answer."""
    async with http.post(url, data=body, headers=HEADERS) as response:
        answer = await response.read()
        assert response.status == 200, answer
        return orjson.loads(answer)


async def read_stream(http: aiohttp.ClientSession, url: str, body: bytes, mark: bytes) -> tuple[float, bytes]:
    """Reads a stream to its end. Returns the time at which `mark` first arrived, and the whole stream."""
    first, parts, seen = 0.0, [], b""
    async with http.post(url, data=body, headers=HEADERS) as response:
        async for part in response.content.iter_any():
            parts.append(part)
            if not first:
                seen += part
                first = time.perf_counter() if mark in seen else 0.0
    answer = b"".join(parts)
    assert first, answer[-500:]
    return first, answer
