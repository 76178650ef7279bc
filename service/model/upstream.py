"""One upstream: an OpenAI-compatible server, called through the `openai` package.

Theory. The package builds the request and owns the connections, over aiohttp; the answer is read raw and parsed by
`chunks`. The call goes by the package's `post` with a body that orjson wrote and not by `chat.completions.create`,
which walks through every message and costs 1.5 ms of CPU a call more, measured with 11 messages. Retries are ours,
since the package knows nothing of a stream's first event: until one was given out a call is repeated, afterwards never,
for what was said cannot be unsaid.

A call's waits: CONNECT_S for a connection; FIRST_TOKEN_S from the request to the first chunk; BETWEEN_S from a chunk to
the next. Comments that keep a connection open do not count as chunks.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import httpx2
import openai
import structlog

from service.model.base import ChatRequest, ModelError, ModelEvent
from service.model.catalog import Endpoint, Route
from service.model.errors import StreamError, cause_of, refusal, scrub, worth_retrying
from service.model.request import USAGE_FIELD, body_of, limit_field
from service.model.retry import MAX_ATTEMPTS, MAX_RETRY_AFTER_S, Failed, backoff, retry_after
from service.model.stream_parser import ChunkParser

CONNECT_S = 10.0
FIRST_TOKEN_S = 300.0  # reasoning models think for minutes; a run expires after ten
BETWEEN_S = 60.0
HEALTH_S = 3.0  # for the answer to a health check
DRAIN_S = 0.1  # for the end of a response after its last event, so that its connection can serve again
MAX_CONNECTIONS = 1000  # to one upstream; the bound on runs is the supervisor's
KEEPALIVE_S = 4.0  # an idle connection is kept; servers commonly close theirs after 5

log = structlog.get_logger(__name__)
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
BROKEN = (httpx2.TransportError, aiohttp.ClientError)  # the transport lets some of aiohttp's own through
_HEADERS = {"Accept": "text/event-stream", "Accept-Encoding": "identity"}


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. See the module's theory."""

    connect: float = CONNECT_S
    first_token: float = FIRST_TOKEN_S
    between: float = BETWEEN_S


Sleep = Callable[[float], Awaitable[object]]


class Upstream:
    """A client for one endpoint. Connections are made at the first call and closed by `close`."""

    def __init__(
        self,
        endpoint: Endpoint,
        timeouts: Timeouts | None = None,
        sleep: Sleep = asyncio.sleep,
        *,
        now: Callable[[], datetime],
        new_call_id: Callable[[], str],
    ) -> None:
        self.endpoint = endpoint
        self._now = now
        self._new_call_id = new_call_id
        self._timeouts = timeouts or Timeouts()
        self._sleep = sleep
        self._local = urlsplit(endpoint.base_url).hostname in _LOOPBACK
        self._headers = _HEADERS
        self._made: openai.AsyncOpenAI | None = None
        self._refused: dict[str, set[str]] = {}  # by model: fields that the server turned out not to take for it

    def _client(self) -> openai.AsyncOpenAI:
        if self._made is None:
            http = openai.DefaultAioHttpClient(
                timeout=httpx2.Timeout(None, connect=self._timeouts.connect),
                limits=httpx2.Limits(max_connections=MAX_CONNECTIONS, keepalive_expiry=KEEPALIVE_S),
                trust_env=not self._local,  # a proxy is never meant for a server on this machine
            )
            self._made = openai.AsyncOpenAI(
                base_url=self.endpoint.base_url,
                api_key=self.endpoint.api_key or "none",  # else the package takes one from its own variable
                max_retries=0,
                http_client=http,
            )
        return self._made

    async def close(self) -> None:
        """Closes all connections; calls under way fail."""
        if self._made is not None:
            await self._made.close()

    async def healthy(self) -> str | None:
        """None where the server answers, else one line that says why not."""
        try:
            async with asyncio.timeout(HEALTH_S):
                response = await self.get("/models")
                await response.aclose()
        except TimeoutError:
            return f"The model server did not answer within {HEALTH_S} s."
        except openai.APIStatusError as error:  # a server without this route is there all the same
            unfit = error.status_code >= 500 or error.status_code in (401, 403)
            return self._shown(refusal(error.status_code, error.body)).message if unfit else None
        except openai.APIError as error:
            return self._unreachable(error).message
        return None

    async def stream(self, route: Route, request: ChatRequest) -> AsyncGenerator[Sequence[ModelEvent], None]:
        """One call, in batches of events, one a network read. Raises ModelError."""
        attempt = 1
        given = False
        refused = self._refused.setdefault(route.info.upstream_name, set())
        while True:
            try:
                async with aclosing(self._attempt(body_of(route, request, refused), route)) as batches:
                    async for batch in batches:
                        given = True
                        yield batch
                return
            except Failed as failed:
                error = self._shown(failed.error)
                if not given and _learn(error, route, refused):
                    continue  # at once, and once a field
                if failed.unheard and attempt == 1:
                    attempt += 1
                    self._leave_nothing_open()
                    continue  # at once, over a new connection
                wait = backoff(attempt) if failed.after is None else failed.after
                if given or not failed.again or attempt >= MAX_ATTEMPTS or wait > MAX_RETRY_AFTER_S:
                    log.warning("model_call_failed", code=error.code, error=error.message, attempt=attempt, given=given)
                    raise error from None
                log.warning("model_call_retried", code=error.code, error=error.message, attempt=attempt, wait_s=wait)
            await self._sleep(wait)
            attempt += 1

    async def _attempt(self, body: bytes, route: Route) -> AsyncGenerator[Sequence[ModelEvent], None]:
        """One request. Raises Failed."""
        deadline = asyncio.get_running_loop().time() + self._timeouts.first_token
        try:
            async with asyncio.timeout_at(deadline):
                response = await self.open("/chat/completions", body)
        except TimeoutError:
            raise _late("first token", self._timeouts.first_token) from None
        except openai.APIStatusError as error:
            raise _status_failure(error, self._now) from None
        except (openai.APIError, *BROKEN) as error:
            raise Failed(self._unreachable(error), again=True, unheard=True) from None
        try:
            async with aclosing(self._read(response, deadline, route)) as batches:
                async for batch in batches:
                    yield batch
        finally:
            await response.aclose()

    async def get(self, path: str) -> httpx2.Response:
        """One answer, read whole. Raises what the package raises."""
        return await self._client().get(path, cast_to=httpx2.Response)

    async def open(self, path: str, body: bytes) -> httpx2.Response:
        """An answer that has begun; the caller reads and closes it. Raises what the package raises."""
        response: httpx2.Response = await self._client().post(
            path,
            cast_to=httpx2.Response,
            content=body,
            options={"headers": self._headers},
            stream=True,
            stream_cls=openai.AsyncStream[Any],
        )  # type: ignore[assignment]  # a raw response is what cast_to asks for, stream or not
        return response

    async def _read(
        self, response: httpx2.Response, deadline: float, route: Route
    ) -> AsyncGenerator[Sequence[ModelEvent], None]:
        """The answer's events. The reader may be slow: only waiting for the server is timed."""
        whole = response.headers.get("content-type", "").startswith("application/json")
        parser = ChunkParser(self._new_call_id, model=route.info.upstream_name, whole=whole)
        clock = asyncio.get_running_loop().time
        limit, name = self._timeouts.first_token, "first token"
        reads = raw(response)
        try:
            while True:
                seen = parser.frames
                async with asyncio.timeout_at(deadline):
                    data = await anext(reads, None)
                events = parser.end() if data is None else parser.feed(data)
                if parser.failure is None and parser.done:  # Finished comes last: first let the connection be free
                    if events[:-1]:
                        yield events[:-1]
                    events = events[-1:]
                    await _drain(reads)
                if events:
                    yield events
                if parser.failure is not None:
                    raise _stream_failure(parser.failure)
                if parser.done:
                    return
                if parser.frames != seen:
                    limit, name = self._timeouts.between, "next token"
                    deadline = clock() + limit
        except TimeoutError:
            raise _late(name, limit) from None
        except BROKEN as error:
            raise Failed(
                ModelError("server_error", f"The connection to the model server broke: {cause_of(str(error))}"),
                again=True,
            ) from None

    def _leave_nothing_open(self) -> None:
        """llama.cpp's server closes after each stream without saying so; on this machine connections cost nothing."""
        if self._local and "Connection" not in self._headers:
            self._headers = {**_HEADERS, "Connection": "close"}
            log.info("model_server_drops_connections", base_url=scrub(self.endpoint.base_url))

    def _shown(self, error: ModelError) -> ModelError:
        """The same error without a key in it."""
        return ModelError(error.code, scrub(error.message, (self.endpoint.api_key or "",)))

    def _unreachable(self, error: Exception) -> ModelError:
        root = error.__cause__ or error
        words = cause_of(scrub(str(root), (self.endpoint.api_key or "",))) or type(root).__name__
        return ModelError("server_error", f"The model server cannot be reached: {words}")


def _learn(error: ModelError, route: Route, refused: set[str]) -> bool:
    """Whether the server refused a field that it can do without; from now on it goes without, or by another name."""
    if error.code != "invalid_prompt":
        return False
    limit = limit_field(route, refused)
    if USAGE_FIELD in error.message and USAGE_FIELD not in refused:
        lacks = USAGE_FIELD
    elif limit is not None and f"unsupported parameter: '{limit}'" in error.message.lower():
        lacks = limit
    else:
        return False
    refused.add(lacks)
    log.info("model_server_lacks", field=lacks, model=route.info.upstream_name)
    return True


def raw(response: httpx2.Response) -> AsyncIterator[bytes]:
    """The body as it comes; past the package's decoders, unless a proxy compressed it unasked."""
    encoded = response.headers.get("content-encoding", "identity") != "identity"
    return response.aiter_bytes() if encoded else aiter(response.stream)  # type: ignore[arg-type]


async def _drain(reads: AsyncIterator[bytes]) -> None:
    """Reads what follows the last event, which is nothing but the end of the response; gives up soon."""
    try:
        async with asyncio.timeout(DRAIN_S):
            while await anext(reads, None) is not None:
                pass
    except (TimeoutError, *BROKEN):
        return  # the connection is closed instead of kept


def _late(what: str, limit: float) -> Failed:
    """Not tried again: whoever is too slow is overloaded, and the run's own time goes on."""
    return Failed(ModelError("server_error", f"The model server gave no {what} within {limit:g} s."), again=False)


def _status_failure(error: openai.APIStatusError, now: Callable[[], datetime]) -> Failed:
    headers = error.response.headers
    body = error.body if error.body is not None else error.response.text
    again = worth_retrying(error.status_code, body, headers.get("x-should-retry"))
    return Failed(refusal(error.status_code, body), again, retry_after(headers, now))


def _stream_failure(error: ModelError) -> Failed:
    return Failed(error, again=not isinstance(error, StreamError) or worth_retrying(error.status))
