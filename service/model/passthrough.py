"""Requests that go to an upstream as they are, but for the model's name and the key: implements service.passthrough.

A call that broke before any answer is made once more, since the connection may have been closed while it lay idle; all
other failures are the client's to see. An upstream that refuses our key says nothing about the client's: that is a 502.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx2
import openai
import orjson
import structlog

from service.model.catalog import Catalog, Endpoint
from service.model.errors import cause_of, refusal, scrub
from service.model.upstream import BROKEN, Upstream, raw
from service.passthrough import PassthroughAnswer, PassthroughError, PassthroughRequest

FIRST_BYTE_S = (
    600.0  # to the answer's beginning, which without streaming is its end: the official clients' own time-out
)
BETWEEN_S = 120.0  # from some bytes to the next
MODELS_S = 10.0
MAX_RELAYED = 500  # calls at once in this process
MAX_WORDS = 4000  # characters of an upstream's error that are passed on

log = structlog.get_logger(__name__)
_AGAIN = ("retry-after", "retry-after-ms", "x-should-retry")


class ModelRelay:
    def __init__(
        self,
        known: Catalog,
        upstreams: Mapping[Endpoint, Upstream],
        *,
        first_byte: float = FIRST_BYTE_S,
        between: float = BETWEEN_S,
        most: int = MAX_RELAYED,
    ) -> None:
        self._catalog = known
        self._upstreams = upstreams
        self._first_byte = first_byte
        self._between = between
        self._most = most
        self._under_way = 0

    @asynccontextmanager
    async def post(self, request: PassthroughRequest) -> AsyncGenerator[PassthroughAnswer, None]:
        if self._under_way >= self._most:
            raise _error(429, "Too many calls are passed through at once. Please try again.", {"retry-after": "1"})
        self._under_way += 1
        response: httpx2.Response | None = None
        try:
            response = await self._open(request)
            length = response.headers.get("content-length", "")
            encoded = "content-encoding" in response.headers
            yield PassthroughAnswer(
                response.headers.get("content-type", "application/json"),
                int(length) if length.isdigit() and not encoded else None,
                self._chunks(response),
            )
        finally:
            self._under_way -= 1
            if response is not None:
                with suppress(*BROKEN):
                    await response.aclose()

    async def models(self) -> list[dict[str, Any]]:
        listed = await self._listed(self._catalog.default)
        there = {entry.get("id") for entry in listed}
        return [*listed, *(_entry(name) for name in self._catalog.names() if name not in there)]

    async def model(self, name: str) -> dict[str, Any]:
        """By the upstream's list: a name never becomes part of a URL, which our key would go with."""
        if name in self._catalog.names() or self._catalog.serves(name):
            return _entry(name)
        route = self._catalog.route(name)
        for entry in await self._listed(route.endpoint):
            if entry.get("id") == route.info.upstream_name:
                return {**entry, "id": name}
        raise _error(404, f"The model '{name}' does not exist", param="model", code="model_not_found")

    async def _listed(self, endpoint: Endpoint) -> list[dict[str, Any]]:
        upstream = self._upstreams[endpoint]
        answer = await self._asked(upstream, lambda: upstream.get("/models"), MODELS_S)
        try:
            found = orjson.loads(answer.content)
        except orjson.JSONDecodeError:
            found = None
        listed = found.get("data") if isinstance(found, dict) else None
        if not isinstance(listed, list):
            raise _error(502, "The model server's list of models makes no sense.")
        return [entry for entry in listed if isinstance(entry, dict)]

    async def _open(self, request: PassthroughRequest) -> httpx2.Response:
        route = self._catalog.route(request.model)
        name, body = route.info.upstream_name, request.raw
        if request.body.get("model") != name or not _one_model(body):
            try:
                body = orjson.dumps({**request.body, "model": name})
            except TypeError as error:
                raise _error(400, f"The request body cannot be passed on: {error}.") from None
        upstream = self._upstreams[route.endpoint]
        return await self._asked(upstream, lambda: upstream.open(request.path, body), self._first_byte)

    async def _asked(
        self, upstream: Upstream, call: Callable[[], Awaitable[httpx2.Response]], limit: float
    ) -> httpx2.Response:
        """The answer to a call that is made once more where its connection broke. Raises PassthroughError."""
        keys = (upstream.endpoint.api_key or "",)
        for attempt in (1, 2):
            try:
                async with asyncio.timeout(limit):
                    return await call()
            except TimeoutError:
                raise _error(504, f"The model server gave no answer within {limit:g} s.") from None
            except openai.APIStatusError as error:
                raise _refused(error, keys) from None
            except (openai.APIConnectionError, *BROKEN) as error:  # the transport calls a dropped connection a time-out
                if attempt == 2:
                    words = cause_of(scrub(str(error.__cause__ or error), keys)) or type(error).__name__
                    log.warning("model_server_unreachable", error=words)
                    raise _error(502, f"The model server cannot be reached: {words}") from None
            except openai.APIError as error:
                words = cause_of(scrub(str(error), keys))
                raise _error(502, f"The model server's answer makes no sense: {words}") from None
        raise AssertionError("unreachable")

    async def _chunks(self, response: httpx2.Response) -> AsyncIterator[bytes]:
        reads = raw(response)
        while True:
            try:
                async with asyncio.timeout(self._between):
                    data = await anext(reads, None)
            except TimeoutError:
                raise _error(504, f"The model server fell silent for {self._between:g} s.") from None
            except BROKEN as error:
                raise _error(502, f"The connection to the model server broke: {cause_of(scrub(str(error)))}") from None
            if data is None:
                return
            yield data


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
    return PassthroughError(status, {"message": message, "type": _kind(status), "param": param, "code": code}, headers)


def _kind(status: int) -> str:
    return "server_error" if status >= 500 else "invalid_request_error"


def _refused(failed: openai.APIStatusError, keys: tuple[str, ...]) -> PassthroughError:
    """The upstream's own error where it has the API's shape, else its words in that shape."""
    status, headers = failed.status_code, failed.response.headers
    again = {name: headers[name] for name in _AGAIN if name in headers}
    if status in (401, 403):
        return _error(502, scrub(refusal(status, failed.body).message, keys), again)
    body = failed.body if failed.body is not None else failed.response.text
    inner = body.get("error", body) if isinstance(body, Mapping) else None
    if not isinstance(inner, Mapping) or not isinstance(inner.get("message"), str):
        return _error(status, scrub(cause_of(body) or f"The model server answered {status}.", keys), again)

    def said(name: str) -> str | None:
        value = inner.get(name)
        return None if value is None else scrub(str(value), keys)[:MAX_WORDS]

    kind = said("type") or _kind(status)
    error = {"message": said("message"), "type": kind, "param": said("param"), "code": said("code")}
    return PassthroughError(status, error, again)


def _one_model(raw: bytes) -> bool:
    """Whether the bytes surely name one model: of two, some take the first. A key may be written with escapes."""
    return raw.count(b'"model"') == 1 and b"\\u00" not in raw
