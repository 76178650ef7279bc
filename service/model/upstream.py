"""One upstream: an OpenAI-compatible server, called through the `openai` package.

The package builds requests and owns the connections, over aiohttp; the answer is read raw and parsed by
`stream_parser`. Calls use the package's `post` with a body that orjson wrote. `chat.completions.create` would inspect
every message, which takes 1.5 ms of CPU more for each call (measured with 11 messages). Retries are ours, because the
package knows nothing about the first event of a stream: a call is repeated until its first event has been yielded, and
never afterwards, because events cannot be taken back.

The waits of a call: CONNECT_S for a connection; FIRST_TOKEN_S from the request to the first stream chunk; BETWEEN_S
from each stream chunk to the next. Comments that only keep the connection open are not stream chunks.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiohttp
import httpx2
import structlog

from service.errors import describe_connection_error
from service.model.attempt_failures import check_redirect, status_failure, stream_failure, timeout_failure
from service.model.base import ChatRequest, ModelError, ModelEvent
from service.model.catalog import Endpoint, ModelRoute
from service.model.errors import MAX_CAUSE, ToolsRefused, hide_addresses, hide_keys
from service.model.openai_import import import_openai
from service.model.refusal_names import TOOLS
from service.model.refusal_trial import LearnedRefusals, RefusalTrial
from service.model.refusals import Refusal
from service.model.request import build_body, refusable_names
from service.model.retry import MAX_ATTEMPTS, MAX_RETRY_AFTER_S, AttemptFailure, backoff
from service.model.stream_parser import StreamParser

if TYPE_CHECKING:
    import openai

CONNECT_S = 10.0
FIRST_TOKEN_S = 300.0  # reasoning models think for minutes; a run expires after ten
BETWEEN_S = 60.0
HEALTH_S = 3.0  # for the answer to a health check
DRAIN_S = 0.1  # for the end of a response after its last event, so that its connection can be used again
MAX_CONNECTIONS = 1000  # to one upstream; the supervisor bounds the number of runs
KEEPALIVE_S = 4.0  # idle connections are kept this long; servers commonly close them after 5 s

log = structlog.get_logger(__name__)
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
CONNECTION_ERRORS = (httpx2.TransportError, aiohttp.ClientError)  # the transport does not wrap all errors of aiohttp
_HEADERS = {"Accept": "text/event-stream", "Accept-Encoding": "identity"}


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Time-outs in seconds; the module's docstring describes them."""

    connect: float = CONNECT_S
    first_token: float = FIRST_TOKEN_S
    between: float = BETWEEN_S


Sleep = Callable[[float], Awaitable[object]]


class Upstream:
    """A client for one endpoint. It connects with the first call; `close` closes all connections."""

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
        self._is_local = urlsplit(endpoint.base_url).hostname in _LOOPBACK
        self._headers = _HEADERS
        self._openai: openai.AsyncOpenAI | None = None
        self._learned = LearnedRefusals()

    def _client(self) -> openai.AsyncOpenAI:
        if self._openai is None:
            import openai

            http = openai.DefaultAioHttpClient(
                timeout=httpx2.Timeout(None, connect=self._timeouts.connect),
                limits=httpx2.Limits(max_connections=MAX_CONNECTIONS, keepalive_expiry=KEEPALIVE_S),
                trust_env=not self._is_local,  # a proxy is never meant for a server on this machine
            )
            self._openai = openai.AsyncOpenAI(
                base_url=self.endpoint.base_url,
                api_key=self.endpoint.api_key or "none",  # not empty, or the package reads a key from the environment
                max_retries=0,
                http_client=http,
            )
        return self._openai

    async def close(self) -> None:
        """Closes all connections; active calls fail."""
        if self._openai is not None:
            await self._openai.close()

    async def check_health(self) -> str | None:
        """Returns None if the server answers, otherwise one line with the reason."""
        await import_openai()
        import openai

        try:
            async with asyncio.timeout(HEALTH_S):
                response = await self.get("/models")
                await response.aclose()
        except TimeoutError:
            return f"The model server did not answer within {HEALTH_S} s."
        except openai.APIStatusError as error:  # a server without this route answers too
            is_failure = error.status_code >= 500 or error.status_code in (401, 403)
            return f"The model server answered with status {error.status_code}." if is_failure else None
        except openai.APIError as error:
            return unreachable(error).message
        return None

    async def stream(self, route: ModelRoute, request: ChatRequest) -> AsyncGenerator[Sequence[ModelEvent], None]:
        """Streams one call, with a batch of events for each network read. Raises ModelError."""
        attempt = 1
        has_events = False
        trial = RefusalTrial(set(self._learned.names(route.info.upstream_name)))
        while True:
            try:
                async with aclosing(self._attempt(build_body(route, request, trial.names), route)) as batches:
                    async for batch in batches:
                        if not has_events:
                            self._learn(route, trial.confirm())
                        has_events = True
                        yield batch
                return
            except AttemptFailure as failure:
                error = self._without_secrets(failure.error)
                if not has_events and self._try_without(route, request, trial, failure.refusal):
                    continue  # at once, and only once for each name
                if failure.refusal.is_about_tools and request.tools and not has_events:
                    raise ToolsRefused(error.code, error.message) from None
                if failure.is_unanswered and attempt == 1:
                    attempt += 1
                    self._stop_keeping_connections()
                    continue  # at once, over a new connection
                wait = backoff(attempt) if failure.after is None else failure.after
                if has_events or not failure.can_retry or attempt >= MAX_ATTEMPTS or wait > MAX_RETRY_AFTER_S:
                    log.warning(
                        "model_call_failed",
                        code=error.code,
                        error=error.message,
                        attempt=attempt,
                        has_events=has_events,
                    )
                    raise error from None
                log.warning("model_call_retried", code=error.code, error=error.message, attempt=attempt, wait_s=wait)
            await self._sleep(wait)
            attempt += 1

    def lacks_tools(self, route: ModelRoute) -> bool:
        """Whether the server has refused tools for this model."""
        return TOOLS in self._learned.names(route.info.upstream_name)

    def learn_lack_of_tools(self, route: ModelRoute) -> None:
        """Records that the server refuses tools for this model."""
        self._learn(route, [TOOLS])

    def _try_without(self, route: ModelRoute, request: ChatRequest, trial: RefusalTrial, refusal: Refusal) -> bool:
        """Whether the call is worth repeating without a name of the refusal.

        A refused value of 1, which `temperature` and `top_p` have by default, is left out of this call.
        """
        defaults = [name for name in refusal.values if getattr(request, name, None) == 1]
        refusal = replace(refusal, now=(*refusal.now, *defaults)) if defaults else refusal
        can_repeat, learned = trial.start(refusal, refusable_names(route, request, trial.names))
        self._learn(route, learned)
        return can_repeat

    def _learn(self, route: ModelRoute, names: Sequence[str]) -> None:
        for name in names:
            if self._learned.add(route.info.upstream_name, name):
                log.info("model_server_field_unsupported", field=name, model=route.info.upstream_name)

    async def _attempt(self, body: bytes, route: ModelRoute) -> AsyncGenerator[Sequence[ModelEvent], None]:
        """Sends one request and yields its events. Raises AttemptFailure."""
        await import_openai()
        import openai

        deadline = asyncio.get_running_loop().time() + self._timeouts.first_token
        try:
            async with asyncio.timeout_at(deadline):
                response = await self.open("/chat/completions", body)
            check_redirect(response)
        except TimeoutError:
            raise timeout_failure("first token", self._timeouts.first_token) from None
        except openai.APIStatusError as error:
            check_redirect(error.response)
            raise status_failure(error, self._now) from None
        except (openai.APIError, *CONNECTION_ERRORS) as error:
            self.log_unreachable(error)
            raise AttemptFailure(unreachable(error), can_retry=True, is_unanswered=True) from None
        try:
            async with aclosing(self._read(response, deadline, route)) as batches:
                async for batch in batches:
                    yield batch
        finally:
            await response.aclose()

    async def get(self, path: str) -> httpx2.Response:
        """Returns a complete answer, after `import_openai`. Raises the errors of the package."""
        return await self._client().get(path, cast_to=httpx2.Response)

    async def open(self, path: str, body: bytes) -> httpx2.Response:
        """Returns an answer that has begun, after `import_openai`; the caller reads and closes it.

        Raises the errors of the package.
        """
        import openai

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
        self, response: httpx2.Response, deadline: float, route: ModelRoute
    ) -> AsyncGenerator[Sequence[ModelEvent], None]:
        """Yields the answer's events. The time-outs cover only waiting for the server, so the consumer may be slow."""
        is_document = response.headers.get("content-type", "").startswith("application/json")
        parser = StreamParser(self._new_call_id, model=route.info.upstream_name, is_document=is_document)
        clock = asyncio.get_running_loop().time
        limit, name = self._timeouts.first_token, "first token"
        reads = raw_body(response)
        try:
            while True:
                chunks_before = parser.chunk_count
                async with asyncio.timeout_at(deadline):
                    data = await anext(reads, None)
                events = parser.end() if data is None else parser.feed(data)
                if parser.failure is None and parser.done:
                    # ModelStreamEnd is yielded last, after the connection has become free.
                    if events[:-1]:
                        yield events[:-1]
                    events = events[-1:]
                    await _drain(reads)
                if events:
                    yield events
                if parser.failure is not None:
                    raise stream_failure(parser.failure)
                if parser.done:
                    return
                if parser.chunk_count != chunks_before:
                    limit, name = self._timeouts.between, "next token"
                    deadline = clock() + limit
        except TimeoutError:
            raise timeout_failure(name, limit) from None
        except CONNECTION_ERRORS as error:
            raise AttemptFailure(
                ModelError(
                    "server_error", f"The connection to the model server broke: {describe_connection_error(error)}"
                ),
                can_retry=True,
            ) from None

    def _stop_keeping_connections(self) -> None:
        """Opens a new connection for each call from now on, if the server is on this machine, where that is cheap.

        The server of llama.cpp closes its connection after each stream without announcing it.
        """
        if self._is_local and "Connection" not in self._headers:
            self._headers = {**_HEADERS, "Connection": "close"}
            log.info("model_server_connection_dropped", base_url=self._safe_url)

    def hide_secrets(self, text: str) -> str:
        """Returns the text with asterisks in place of the key and of the addresses of the server and its network."""
        return hide_addresses(hide_keys(text, (self.endpoint.api_key or "",)), self.endpoint.base_url)

    def _without_secrets(self, error: ModelError) -> ModelError:
        return ModelError(error.code, self.hide_secrets(error.message))

    def log_unreachable(self, error: Exception) -> None:
        """Logs the whole error, with addresses, for the operator alone."""
        words = hide_keys(str(error.__cause__ or error), (self.endpoint.api_key or "",))
        log.warning("model_server_unreachable", base_url=self._safe_url, error=words[:MAX_CAUSE])

    @property
    def _safe_url(self) -> str:
        """The base URL without a key, for the log."""
        return hide_keys(self.endpoint.base_url)


def unreachable(error: Exception) -> ModelError:
    """Returns the error for a connection that failed. Clients and strangers may see its text."""
    return ModelError("server_error", f"The model server cannot be reached: {describe_connection_error(error)}")


def raw_body(response: httpx2.Response) -> AsyncIterator[bytes]:
    """Yields the bytes of the body as they arrive, without the package's decoders unless a proxy compressed the
    body."""
    is_encoded = response.headers.get("content-encoding", "identity") != "identity"
    return response.aiter_bytes() if is_encoded else aiter(response.stream)  # type: ignore[arg-type]


async def _drain(reads: AsyncIterator[bytes]) -> None:
    """Reads the end of the response after its last event, for at most DRAIN_S."""
    try:
        async with asyncio.timeout(DRAIN_S):
            while await anext(reads, None) is not None:
                pass
    except (TimeoutError, *CONNECTION_ERRORS):
        return  # the connection is closed and not kept
