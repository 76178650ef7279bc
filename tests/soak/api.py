"""Raw HTTP clients of a soak. They repeat a request under its Idempotency-Key until the server answers."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson

from tests.client import KEY, V2
from tests.soak.ledger import Ledger

Json = dict[str, Any]
# A try of a request ends after this time, and all its tries together.
TRY_S = 15.0
GIVE_UP_S = 120.0
PAUSE_S = (0.05, 0.4)
# Answers after which a client tries again, as the official SDK does.
RETRIED = frozenset({408, 409, 429, 500, 502, 503, 504})
BROKEN = (aiohttp.ClientError, OSError, TimeoutError, asyncio.IncompleteReadError)
# Answers that are repeated under the same key after they came, to see that they are the same.
REPEATED_SHARE = 0.05


class Unanswered(Exception):
    """No try of a request was answered in time. Its effect is not known."""


class Refused(Exception):
    """The server refused a request."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(f"{status}: {body}")
        self.status = status
        self.body = body


@dataclass(slots=True)
class StreamState:
    """The frames of a run's stream that a client has got, over all its connections."""

    ids: list[str] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    run: Json | None = None
    is_done: bool = False


class Api:
    """A client of the server at `origin`, behind the proxy. Its requests and answers are counted in the ledger."""

    def __init__(self, session: aiohttp.ClientSession, origin: str, ledger: Ledger, source: random.Random) -> None:
        self._session = session
        self._base = f"{origin}/v1"
        self._ledger = ledger
        self._random = source
        self._headers = {"Authorization": f"Bearer {KEY}", "OpenAI-Beta": V2}

    def new_key(self) -> str:
        return f"{self._random.getrandbits(128):032x}"

    async def post(self, path: str, body: Any) -> Json:
        """Returns the answer of a POST, which has one effect however often it is sent."""
        key = self.new_key()
        answer = await self.send("POST", path, body, key=key)
        if self._random.random() < REPEATED_SHARE:
            again = await self.send("POST", path, body, key=key)
            if again.get("id") != answer.get("id"):
                self._ledger.faults.append(f"a repeated POST {path} made {again.get('id')} beside {answer.get('id')}")
        return answer

    async def get(self, path: str, **query: str) -> Json:
        return await self.send("GET", path, query=query)

    async def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Json:
        """Sends a request until it is answered. Raises Refused or Unanswered."""
        raw = await self.send_raw(method, path, body, key=key, query=query)
        return orjson.loads(raw)  # type: ignore[no-any-return]

    async def send_raw(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = None,
        query: Mapping[str, str] | None = None,
    ) -> bytes:
        self._ledger.requests[method] += 1
        headers = {**self._headers, **({"Idempotency-Key": key} if key is not None else {})}
        is_form = isinstance(body, Mapping) and "file" in body
        if body is not None and not is_form:
            headers["Content-Type"] = "application/json"
        try:
            async with asyncio.timeout(GIVE_UP_S):
                while True:
                    data = _form(body) if is_form else None if body is None else orjson.dumps(body)
                    try:
                        async with (
                            asyncio.timeout(TRY_S),
                            self._session.request(
                                method, self._base + path, data=data, headers=headers, params=query
                            ) as response,
                        ):
                            raw = await response.read()
                        self._ledger.answers[response.status] += 1
                        if response.status < 300:
                            return raw
                        if response.status not in RETRIED:
                            raise Refused(response.status, raw[:500])
                        if response.status == 500:
                            self._ledger.faults.append(f"{method} {path} was answered with 500: {raw[:300]!r}")
                    except BROKEN as error:
                        self._ledger.breaks[type(error).__name__] += 1
                    await asyncio.sleep(self._random.uniform(*PAUSE_S))
        except TimeoutError:
            self._ledger.unanswered += 1
            raise Unanswered(f"{method} {path}") from None

    # Streams.

    async def stream_run(self, path: str, body: Json, leave_share: float) -> StreamState:
        """Creates a run and follows it until it ends, over as many connections as that takes.

        The client leaves a connection by itself with the probability `leave_share` at each frame.
        """
        key, state = self.new_key(), StreamState()
        self._ledger.requests["STREAM"] += 1
        try:
            async with asyncio.timeout(GIVE_UP_S):
                while not state.is_done:
                    try:
                        await self._read_stream(path, {**body, "stream": True}, key, state, leave_share)
                    except BROKEN as error:
                        self._ledger.breaks[type(error).__name__] += 1
                    if not state.is_done:
                        self._ledger.resumed_streams += 1
                        await asyncio.sleep(self._random.uniform(*PAUSE_S))
        except TimeoutError:
            self._ledger.unanswered += 1
            raise Unanswered(f"the stream of {path}") from None
        return state

    async def _read_stream(self, path: str, body: Json, key: str, state: StreamState, leave_share: float) -> None:
        """Reads one connection: the first, or one that resumes."""
        headers = dict(self._headers)
        if state.run is None:
            headers |= {"Idempotency-Key": key, "Content-Type": "application/json"}
            request = self._session.post(self._base + path, data=orjson.dumps(body), headers=headers)
        else:
            run = state.run
            headers["Last-Event-ID"] = state.ids[-1]
            url = f"{self._base}/threads/{run['thread_id']}/runs/{run['id']}/stream"
            request = self._session.get(url, headers=headers)
        async with request as response:
            self._ledger.answers[response.status] += 1
            if response.status == 204:
                state.is_done = True
            elif response.status in RETRIED:
                if response.status == 500:
                    self._ledger.faults.append(f"the stream of {path} was answered with 500")
            elif response.status != 200:
                raise Refused(response.status, (await response.read())[:500])
            else:
                async for raw in _frames(response):
                    _note_frame(raw, state)
                    if state.is_done or self._random.random() < leave_share:
                        return


def _form(body: Mapping[str, Any]) -> aiohttp.FormData:
    form = aiohttp.FormData()
    form.add_field("purpose", body["purpose"])
    form.add_field("file", body["file"], filename=body["name"], content_type="text/plain")
    return form


async def _frames(response: aiohttp.ClientResponse) -> AsyncIterator[dict[str, str]]:
    """Yields whole frames; the rest of a stream that was cut is no frame."""
    buffer = b""
    async for piece in response.content.iter_any():
        buffer += piece
        *whole, buffer = buffer.split(b"\n\n")
        for raw in whole:
            lines = [line for line in raw.decode().split("\n") if not line.startswith(":")]
            if any(line.startswith("event: ") for line in lines):
                yield dict(line.split(": ", 1) for line in lines)


def _note_frame(frame: Mapping[str, str], state: StreamState) -> None:
    """Adds a frame to the state."""
    event = frame["event"]
    if "id" in frame and event != "done":
        state.ids.append(frame["id"])
        state.events.append(event)
    if event == "done":
        state.is_done = True
        return
    data: Json = orjson.loads(frame["data"])
    if event.startswith("thread.run.") and not event.startswith("thread.run.step."):
        state.run = data
    if event == "thread.message.delta":
        for part in data["delta"].get("content", ()):
            state.texts[data["id"]] = state.texts.get(data["id"], "") + part["text"].get("value", "")
