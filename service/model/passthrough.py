"""Requests that go to an upstream unchanged, except for the model's name and the key: implements service.passthrough.

If the connection breaks before any answer, the request is sent once more, because the server may have closed the
connection while it was idle. All other failures are passed to the client. If the upstream rejects our key, the client
gets a 502, because its own key is not at fault.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import aiohttp
import orjson
import structlog

from service.errors import describe_connection_error
from service.model.attempt_failures import redirect_text
from service.model.catalog import Catalog, Endpoint
from service.model.errors import cause_of, response_error
from service.model.http_client import CONNECTION_ERRORS, RedirectError, StatusError
from service.model.upstream import ServerSilence, Upstream, unreachable
from service.passthrough import PassthroughAnswer, PassthroughError, PassthroughRequest
from service.tasks.watchdog import Watchdog

# Seconds until the answer begins; without streaming it begins when it is complete. The official clients' own time-out.
FIRST_BYTE_S = 600.0
BETWEEN_S = 120.0  # seconds between two reads of an answer
MODELS_S = 10.0
MAX_RELAYED = 500  # calls at once in this process
MAX_WORDS = 4000  # characters of an upstream's error that are passed on

log = structlog.get_logger(__name__)
_RETRY_HEADERS = ("retry-after", "retry-after-ms", "x-should-retry")
T = TypeVar("T")


class ModelRelay:
    """Passes requests through to the upstreams of the catalogue. Time-outs are in seconds; `limit` bounds the calls at
    once."""

    def __init__(
        self,
        known: Catalog,
        upstreams: Mapping[Endpoint, Upstream],
        *,
        first_byte: float = FIRST_BYTE_S,
        between: float = BETWEEN_S,
        limit: int = MAX_RELAYED,
    ) -> None:
        self._catalog = known
        self._upstreams = upstreams
        self._first_byte = first_byte
        self._between = between
        self._limit = limit
        self._active = 0

    @asynccontextmanager
    async def post(self, request: PassthroughRequest) -> AsyncGenerator[PassthroughAnswer, None]:
        if self._active >= self._limit:
            raise _error(429, "Too many calls are passed through at once. Please try again.", {"retry-after": "1"})
        self._active += 1
        response: aiohttp.ClientResponse | None = None
        try:
            response = await self._open(request)
            length = response.headers.get("content-length", "")
            is_encoded = "content-encoding" in response.headers
            yield PassthroughAnswer(
                response.headers.get("content-type", "application/json"),
                int(length) if length.isdigit() and not is_encoded else None,
                self._pieces(response),
            )
        finally:
            self._active -= 1
            if response is not None:
                response.release() if response.content.at_eof() else response.close()

    async def models(self) -> list[dict[str, Any]]:
        entries = await self._list_models(self._catalog.default)
        ids = {entry.get("id") for entry in entries}
        return [*entries, *(_entry(name) for name in self._catalog.names() if name not in ids)]

    async def model(self, name: str) -> dict[str, Any]:
        """Looks the model up in the upstream's list. So a client's text never becomes part of a URL that our key is
        sent to."""
        if name in self._catalog.names() or self._catalog.is_embedded(name):
            return _entry(name)
        route = self._catalog.route(name)
        for entry in await self._list_models(route.endpoint):
            if entry.get("id") == route.info.upstream_name:
                return {**entry, "id": name}
        raise _error(404, f"The model '{name}' does not exist", param="model", code="model_not_found")

    async def _list_models(self, endpoint: Endpoint) -> list[dict[str, Any]]:
        upstream = self._upstreams[endpoint]
        answer = await self._send(upstream, lambda: upstream.get("/models"), MODELS_S)
        try:
            body = orjson.loads(answer)
        except orjson.JSONDecodeError:
            body = None
        entries = body.get("data") if isinstance(body, dict) else None
        if not isinstance(entries, list):
            raise _error(502, "The model server's list of models makes no sense.")
        return [entry for entry in entries if isinstance(entry, dict)]

    async def _open(self, request: PassthroughRequest) -> aiohttp.ClientResponse:
        route = self._catalog.route(request.model)
        body = request.body_for(route.info.upstream_name)
        upstream = self._upstreams[route.endpoint]
        return await self._send(upstream, lambda: upstream.open(request.path, body), self._first_byte)

    async def _send(self, upstream: Upstream, call: Callable[[], Awaitable[T]], timeout: float) -> T:
        """Returns the answer of `call`, which is repeated once if the connection breaks. Raises PassthroughError."""
        for attempt in (1, 2):
            try:
                async with asyncio.timeout(timeout):
                    return await call()
            except RedirectError as error:
                log.warning("model_server_redirects", status=error.status, location=error.location)
                raise _error(502, redirect_text(error)) from None
            except StatusError as error:
                raise _upstream_error(error, upstream.hide_secrets) from None
            except CONNECTION_ERRORS as error:
                if type(error) is TimeoutError:
                    raise _error(504, f"The model server gave no answer within {timeout:g} s.") from None
                if attempt == 2:
                    upstream.log_unreachable(error)
                    raise _error(502, unreachable(error).message) from None
        raise AssertionError("unreachable")

    async def _pieces(self, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        content, clock = response.content, asyncio.get_running_loop().time
        watchdog = Watchdog(lambda: content.set_exception(ServerSilence()))
        try:
            while True:
                watchdog.start(clock() + self._between)
                data = await content.readany()
                watchdog.stop()
                if not data:
                    return
                yield data
        except ServerSilence:
            raise _error(504, f"The model server fell silent for {self._between:g} s.") from None
        except CONNECTION_ERRORS as error:
            words = describe_connection_error(error)
            raise _error(502, f"The connection to the model server broke: {words}") from None
        finally:
            watchdog.close()


def _entry(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "everthread"}


def _error(
    status: int,
    message: str,
    headers: Mapping[str, str] | None = None,
    *,
    param: str | None = None,
    code: str | None = None,
) -> PassthroughError:
    error = {"message": message, "type": _error_type(status), "param": param, "code": code}
    return PassthroughError(status, error, headers)


def _error_type(status: int) -> str:
    return "server_error" if status >= 500 else "invalid_request_error"


def _upstream_error(failure: StatusError, hide_secrets: Callable[[str], str]) -> PassthroughError:
    """Returns the upstream's own error if it has the API's shape; otherwise an error of that shape with its text.

    `hide_secrets` is that of the upstream.
    """
    status, headers, body = failure.status, failure.headers, failure.body
    retry_headers = {name: headers[name] for name in _RETRY_HEADERS if name in headers}
    if status in (401, 403):
        return _error(502, hide_secrets(response_error(status, body).message), retry_headers)
    inner = body.get("error", body) if isinstance(body, Mapping) else None
    if not isinstance(inner, Mapping) or not isinstance(inner.get("message"), str):
        message = hide_secrets(cause_of(body) or f"The model server answered {status}.")
        return _error(status, message, retry_headers)

    def text_of(name: str) -> str | None:
        value = inner.get(name)
        return None if value is None else hide_secrets(str(value))[:MAX_WORDS]

    error_type = text_of("type") or _error_type(status)
    error = {"message": text_of("message"), "type": error_type, "param": text_of("param"), "code": text_of("code")}
    return PassthroughError(status, error, retry_headers)
