"""A small HTTP client for tests. It gives access to every byte of an answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import aiohttp
import orjson
from yarl import URL

from tests.wire.validation import problems_of_answer, problems_of_frame

KEY = "sk-test-0123456789abcdef"
V1 = "assistants=v1"
V2 = "assistants=v2"
TERMINAL = frozenset({"completed", "failed", "cancelled", "incomplete", "expired"})
WAIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: Any
    headers: Mapping[str, str]

    @property
    def error(self) -> tuple[int, str, str | None, str | None]:
        """Returns (status, message, param, code) of an error."""
        error = self.body["error"]
        return self.status, error["message"], error["param"], error["code"]


@dataclass(frozen=True, slots=True)
class Frame:
    """One server-sent event. `data` is decoded JSON, or "[DONE]"."""

    event: str
    data: Any
    id: str | None = None


class Client:
    """A client of the server at `base_url` (with /v1) that speaks v2 by default.

    Each answer is checked against the OpenAPI document of its version (tests/wire/validation.py), so tests do not
    repeat these checks. `validate=False` turns the check off.
    """

    def __init__(self, base_url: str, beta: str = V2, key: str = KEY, *, validate: bool = True) -> None:
        self.base_url = base_url
        self.validate = validate
        self.headers = {"Authorization": f"Bearer {key}", "OpenAI-Beta": beta}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=WAIT_S))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._session is not None
        await self._session.close()

    @property
    def session(self) -> aiohttp.ClientSession:
        assert self._session is not None, "the client is not open"
        return self._session

    async def call(
        self, method: str, path: str, body: Any = None, *, headers: Mapping[str, str] | None = None, **query: str
    ) -> Answer:
        data = orjson.dumps(body) if body is not None and not isinstance(body, bytes) else body
        sent = {**self.headers, **({"Content-Type": "application/json"} if data is not None else {}), **(headers or {})}
        url = URL(self.base_url + path, encoded=True)
        async with self.session.request(
            method, url.extend_query(query) if query else url, data=data, headers=sent
        ) as response:
            raw = await response.read()
            answer = Answer(response.status, orjson.loads(raw) if raw else None, response.headers)
        return self.checked(method, path, sent, answer)

    def checked(self, method: str, path: str, sent: Mapping[str, str], answer: Answer) -> Answer:
        """Returns the answer to a request with these headers after checking it against the document."""
        if self.validate:
            wrong = problems_of_answer(version_of(sent), method, path, answer.status, answer.body)
            assert wrong == [], f"{method} {path} is not what the document says: {wrong}"
        return answer

    async def get(self, path: str, **query: str) -> Any:
        """Returns the body of a GET that must succeed."""
        return self._good(await self.call("GET", path, headers=None, **query))

    async def post(self, path: str, body: Any = None) -> Any:
        """Returns the body of a POST that must succeed."""
        return self._good(await self.call("POST", path, body))

    async def delete(self, path: str) -> Any:
        return self._good(await self.call("DELETE", path))

    async def stream(self, path: str, body: Any) -> AsyncIterator[Frame]:
        """Yields the frames of a streaming POST as they arrive."""
        headers = {**self.headers, "Content-Type": "application/json"}
        async with self.session.post(self.base_url + path, data=orjson.dumps(body), headers=headers) as response:
            assert response.status == 200, await response.text()
            assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
            buffer = b""
            async for chunk in response.content.iter_any():
                buffer += chunk
                *whole, buffer = buffer.split(b"\n\n")
                for raw in whole:
                    yield self._checked(_frame(raw))
            assert buffer == b"", "the stream ended in the middle of a frame"

    def checked_frames(self, raw: bytes) -> list[Frame]:
        """Returns the frames of a complete stream that was read in another way, each checked against the document."""
        *whole, rest = raw.split(b"\n\n")
        assert rest == b"", "the stream ended in the middle of a frame"
        return [self._checked(_frame(one)) for one in whole]

    def _checked(self, frame: Frame) -> Frame:
        wrong = self.validate and problems_of_frame(version_of(self.headers), frame.event, frame.data)
        assert not wrong, f"{frame.event} is not what the document says: {wrong}"
        return frame

    async def frames(self, path: str, body: Any) -> list[Frame]:
        return [frame async for frame in self.stream(path, body)]

    async def settled(self, run: Mapping[str, Any]) -> Any:
        """Waits until the run has ended or requires action, polling as the SDKs' helpers do, and returns it."""
        path = f"/threads/{run['thread_id']}/runs/{run['id']}"
        async with asyncio.timeout(WAIT_S):
            while True:
                answer = await self.call("GET", path)
                found = self._good(answer)
                if found["status"] in TERMINAL or found["status"] == "requires_action":
                    return found
                await asyncio.sleep(int(answer.headers["openai-poll-after-ms"]) / 10_000)

    @staticmethod
    def _good(answer: Answer) -> Any:
        assert answer.status == 200, (answer.status, answer.body)
        return answer.body


def version_of(headers: Mapping[str, str]) -> str:
    """Returns the API version of a request with these headers: the first of several betas that names one."""
    betas = [one.strip() for one in headers.get("OpenAI-Beta", "").split(",")]
    return "v1" if next((one for one in betas if one in (V1, V2)), V2) == V1 else "v2"


def _frame(raw: bytes) -> Frame:
    fields = dict(line.split(": ", 1) for line in raw.decode().split("\n"))
    data = fields["data"]
    return Frame(fields["event"], data if data == "[DONE]" else orjson.loads(data), fields.get("id"))
