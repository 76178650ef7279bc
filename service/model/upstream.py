"""One upstream: an OpenAI-compatible server.

`http_client` owns the connections; the answer is read raw and parsed by `stream_parser`. A call is repeated until its
first event has been yielded, and never afterwards, because events cannot be taken back.

The waits of a call: CONNECT_S for a connection; FIRST_TOKEN_S from the request to the first stream chunk; BETWEEN_S
from each stream chunk to the next. Comments that only keep the connection open are not stream chunks.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial

import aiohttp
import structlog

from service.errors import describe_connection_error
from service.model.attempt_failures import redirect_failure, status_failure, stream_failure, timeout_failure
from service.model.base import ChatRequest, ModelError, ModelEvent
from service.model.catalog import Endpoint, ModelRoute
from service.model.errors import MAX_CAUSE, ToolsRefused, hide_addresses, hide_keys
from service.model.http_client import CONNECTION_ERRORS, HttpClient, RedirectError, StatusError
from service.model.refusal_names import TOOLS
from service.model.refusal_trial import LearnedRefusals, RefusalTrial
from service.model.refusals import Refusal
from service.model.request import build_body, refusable_names
from service.model.retry import MAX_ATTEMPTS, MAX_RETRY_AFTER_S, AttemptFailure, backoff
from service.model.stream_parser import StreamParser
from service.tasks.off_loop import compute, is_large
from service.tasks.watchdog import Watchdog

CONNECT_S = 10.0
FIRST_TOKEN_S = 300.0  # reasoning models think for minutes; a run expires after ten
BETWEEN_S = 60.0
HEALTH_S = 3.0  # for the answer to a health check
END_S = 5.0  # for the usage and the end of a stream after its finish_reason; the answer is complete without them
DRAIN_S = 0.1  # for the end of a response after its last event, so that its connection can be used again

log = structlog.get_logger(__name__)
_HEADERS = {"Accept": "text/event-stream"}


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Time-outs in seconds; the module's docstring describes them."""

    connect: float = CONNECT_S
    first_token: float = FIRST_TOKEN_S
    between: float = BETWEEN_S


Sleep = Callable[[float], Awaitable[object]]


class ServerSilence(Exception):
    """A read from a server was ended, because the server sent nothing until a deadline."""


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
        self._headers = _HEADERS
        self._http = HttpClient(endpoint.base_url, endpoint.api_key, connect_s=self._timeouts.connect)
        self._learned = LearnedRefusals()

    async def close(self) -> None:
        """Closes all connections; active calls fail."""
        await self._http.close()

    async def check_health(self) -> str | None:
        """Returns None if the server answers, otherwise one line with the reason."""
        try:
            async with asyncio.timeout(HEALTH_S):
                await self.get("/models")
        except StatusError as error:  # a server without this route answers too
            is_failure = error.status >= 500 or error.status in (401, 403)
            return f"The model server answered with status {error.status}." if is_failure else None
        except aiohttp.ClientError as error:
            return unreachable(error).message
        except TimeoutError:
            return f"The model server did not answer within {HEALTH_S} s."
        except OSError as error:
            return unreachable(error).message
        return None

    async def stream(self, route: ModelRoute, request: ChatRequest) -> AsyncGenerator[Sequence[ModelEvent], None]:
        """Streams one call, with a batch of events for each network read. Raises ModelError."""
        attempt = 1
        has_events = False
        names = [tool["function"]["name"] for tool in request.tools]
        trial = RefusalTrial(set(self._learned.names(route.info.upstream_name)))
        while True:
            try:
                build = partial(_build_noted_body, route, request, trial.names)
                body = await compute(build, in_thread=is_large(request))
                async with aclosing(self._attempt(body, route, names)) as batches:
                    async for batch in batches:
                        if not has_events:
                            self._learn(route, trial.confirm())
                        has_events = True
                        yield batch
                return
            except AttemptFailure as failure:
                error = self._without_secrets(failure.error)
                if not has_events and self._try_without(route, request, trial, failure.refusal):
                    _note_failed(request, error, 0.0)
                    continue  # at once, and only once for each name
                if failure.refusal.is_about_tools and request.tools and not has_events:
                    raise ToolsRefused(error.code, error.message) from None
                if failure.is_unanswered and attempt == 1:
                    _note_failed(request, error, 0.0)
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
                _note_failed(request, error, wait)
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

    async def _attempt(
        self, body: bytes, route: ModelRoute, names: Sequence[str]
    ) -> AsyncGenerator[Sequence[ModelEvent], None]:
        """Sends one request and yields its events. `names` are the request's functions. Raises AttemptFailure."""
        deadline = asyncio.get_running_loop().time() + self._timeouts.first_token
        try:
            async with asyncio.timeout_at(deadline):
                response = await self.open("/chat/completions", body)
        except RedirectError as error:
            raise redirect_failure(error) from None
        except StatusError as error:
            raise status_failure(error, self._now) from None
        except CONNECTION_ERRORS as error:
            if type(error) is TimeoutError:
                raise timeout_failure("first token", self._timeouts.first_token) from None
            self.log_unreachable(error)
            raise AttemptFailure(unreachable(error), can_retry=True, is_unanswered=True) from None
        try:
            async with aclosing(self._read(response, deadline, route, names)) as batches:
                async for batch in batches:
                    yield batch
        finally:
            response.close()

    async def get(self, path: str) -> bytes:
        """Returns a whole answer. Raises StatusError and CONNECTION_ERRORS."""
        return await self._http.get(path)

    async def open(self, path: str, body: bytes) -> aiohttp.ClientResponse:
        """Returns an answer that has begun; the caller reads and closes it. Raises as `HttpClient.post` does."""
        return await self._http.post(path, body, self._headers)

    async def _read(
        self, response: aiohttp.ClientResponse, deadline: float, route: ModelRoute, names: Sequence[str]
    ) -> AsyncGenerator[Sequence[ModelEvent], None]:
        """Yields the answer's events. The time-outs cover only waiting for the server, so the consumer may be slow."""
        parser = StreamParser(
            self._new_call_id,
            model=route.info.upstream_name,
            is_document=response.headers.get("content-type", "").startswith("application/json"),
            names=names,
        )
        clock, content = asyncio.get_running_loop().time, response.content
        limit, name = self._timeouts.first_token, "first token"
        watchdog = Watchdog(lambda: content.set_exception(ServerSilence()))
        try:
            while True:
                chunks_before = parser.chunk_count
                watchdog.start(deadline)
                try:
                    data = await content.readany()
                except (ServerSilence, *CONNECTION_ERRORS):
                    if not parser.has_reason:
                        raise
                    response.close()
                    data = b""  # the answer is complete, although its stream has no end
                watchdog.stop()
                events = parser.feed(data) if data else parser.end()
                if parser.failure is None and parser.done:
                    # ModelStreamEnd is yielded last, after the connection has become free.
                    if events[:-1]:
                        yield events[:-1]
                    events = events[-1:]
                    await _drain(response)
                if events:
                    yield events
                if parser.failure is not None:
                    raise stream_failure(parser.failure)
                if parser.done:
                    return
                if parser.chunk_count != chunks_before:
                    limit, name = self._timeouts.between, "next token"
                    deadline = clock() + (min(END_S, limit) if parser.has_reason else limit)
        except ServerSilence:
            raise timeout_failure(name, limit) from None
        except CONNECTION_ERRORS as error:
            raise AttemptFailure(
                ModelError(
                    "server_error", f"The connection to the model server broke: {describe_connection_error(error)}"
                ),
                can_retry=True,
            ) from None
        finally:
            watchdog.close()

    def _stop_keeping_connections(self) -> None:
        """Opens a new connection for each call from now on, if the server is on this machine, where that is cheap.

        The server of llama.cpp closes its connection after each stream without announcing it.
        """
        if self._http.is_local and "Connection" not in self._headers:
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


def _build_noted_body(route: ModelRoute, request: ChatRequest, refused: Collection[str]) -> bytes:
    """Returns the body of the request, and notes it in the request's journal."""
    body = build_body(route, request, refused)
    if request.journal is not None:
        request.journal.note_sent(body, model=route.info.upstream_name, limit_field=route.limit_field, refused=refused)
    return body


def _note_failed(request: ChatRequest, error: ModelError, wait_s: float) -> None:
    if request.journal is not None:
        request.journal.note_failed(error.code, error.message, wait_s)


def unreachable(error: Exception) -> ModelError:
    """Returns the error for a connection that failed. Clients and strangers may see its text."""
    return ModelError("server_error", f"The model server cannot be reached: {describe_connection_error(error)}")


async def _drain(response: aiohttp.ClientResponse) -> None:
    """Reads the end of the response after its last event, for at most DRAIN_S. Its connection is kept if that ends."""
    try:
        async with asyncio.timeout(DRAIN_S):
            while await response.content.readany():
                pass
        response.release()
    except (ServerSilence, *CONNECTION_ERRORS):
        return  # the connection is closed and not kept
