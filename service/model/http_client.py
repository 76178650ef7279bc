"""The HTTP client for an OpenAI-compatible server, directly over aiohttp.

The package `openai` is not used here: its layers over aiohttp more than double the CPU time of a call
(docs/performance.md, "What helped").
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import TypedDict
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import orjson
from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import BytesPayload, Payload
from yarl import URL

MAX_CONNECTIONS = 1000  # to one server; the supervisor bounds the number of runs
KEEPALIVE_S = 4.0  # idle connections are kept this long; servers commonly close them after 5 s
PIECE = 256 * 1024  # bytes of a body that are written in one turn of the event loop
MAX_ERROR = 1024 * 1024  # bytes that are read of the body of an error
# Errors of a connection that cannot be opened, or that breaks. Some of aiohttp's are a TimeoutError too.
CONNECTION_ERRORS = (aiohttp.ClientError, OSError)
# Redirects of a POST that keep its method, and those that make it a GET.
_SAME_METHOD = (307, 308)
_OTHER_METHOD = (301, 302, 303)
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "Everthread"}


class _Proxy(TypedDict, total=False):
    proxy: URL
    proxy_headers: Mapping[str, str]


class _LargeBody(BytesPayload):
    """A body that is written piece by piece. aiohttp would copy it as a whole, and the event loop would wait.

    It can be written again, for a redirect.
    """

    def __init__(self, body: bytes) -> None:
        Payload.__init__(self, body, content_type="application/json")
        self._size = len(body)

    async def write(self, writer: AbstractStreamWriter) -> None:
        whole = memoryview(self._value)
        for at in range(0, len(whole), PIECE):
            await writer.write(whole[at : at + PIECE])
            await asyncio.sleep(0)

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        await self.write(writer)


class StatusError(Exception):
    """The server answered with a status that is no success.

    `body` is the error in its JSON, without the key "error" around it, or else its text.
    """

    def __init__(self, status: int, headers: Mapping[str, str], body: object) -> None:
        super().__init__(f"status {status}")
        self.status = status
        self.headers = headers
        self.body = body


class RedirectError(Exception):
    """The server redirected a POST to another address, where it became a GET."""

    def __init__(self, status: int, location: str) -> None:
        super().__init__(f"redirects to {location} ({status})")
        self.status = status
        self.location = location


class HttpClient:
    """The connections to one server. It connects with the first request; `close` closes all connections.

    Proxies come from the environment, but never for a server on this machine (`is_local`).
    """

    def __init__(
        self, base_url: str, api_key: str | None, *, connect_s: float, max_connections: int = MAX_CONNECTIONS
    ) -> None:
        self.is_local = urlsplit(base_url).hostname in _LOOPBACK
        self._base_url = base_url
        # Not a default of the session, since aiohttp sends those to proxies too.
        self._authorization = {"Authorization": f"Bearer {api_key or 'none'}"}
        self._connect_s = connect_s
        self._max_connections = max_connections
        self._session: aiohttp.ClientSession | None = None
        self._proxy: _Proxy = {}

    async def close(self) -> None:
        """Closes all connections; active requests fail."""
        if self._session is not None:
            await self._session.close()

    async def post(self, path: str, body: bytes, headers: Mapping[str, str] | None = None) -> aiohttp.ClientResponse:
        """Returns an answer that has begun; the caller reads and closes it.

        Raises StatusError, RedirectError and CONNECTION_ERRORS. Redirects that keep the method (307, 308) are followed.
        """
        headers = {"Content-Type": "application/json", **self._authorization, **(headers or {})}
        session = self._open_session()
        data = _LargeBody(body) if len(body) > PIECE else body
        url = self._base_url + path
        response = await session.post(url, data=data, headers=headers, allow_redirects=False, **self._proxy)
        if response.status in _SAME_METHOD:
            response.close()
            response = await session.post(url, data=data, headers=headers, **self._proxy)
        _refuse_get(response)
        return await _require_success(response)

    async def get(self, path: str) -> bytes:
        """Returns a whole answer. Raises StatusError and CONNECTION_ERRORS."""
        session = self._open_session()
        response = await session.get(self._base_url + path, headers=self._authorization, **self._proxy)
        async with await _require_success(response):
            return await response.read()

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._proxy = {} if self.is_local else _find_proxy(self._base_url)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._max_connections, keepalive_timeout=KEEPALIVE_S),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers=_HEADERS,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._connect_s),
            )
        return self._session


def _find_proxy(url: str) -> _Proxy:
    """Returns the proxy that the environment names for the URL, as options of a request.

    aiohttp's own search (`trust_env`) would also read ~/.netrc, whose password would take the place of the key.
    """
    parts, proxies = urlsplit(url), getproxies()
    found = proxies.get(parts.scheme) or proxies.get("all") or ""
    if not found.startswith(("http://", "https://")) or proxy_bypass(parts.hostname or ""):
        return {}
    proxy = URL(found)
    if proxy.user is None:
        return {"proxy": proxy}
    credentials = aiohttp.encode_basic_auth(proxy.user, proxy.password or "")
    return {"proxy": proxy.with_user(None), "proxy_headers": {"Authorization": credentials}}


def _refuse_get(response: aiohttp.ClientResponse) -> None:
    """Raises RedirectError if the response to a POST redirects to a GET, or is the response to that GET."""
    first = response.history[0] if response.history else response
    if response.status in _OTHER_METHOD or response.method != "POST":
        response.close()
        raise RedirectError(first.status, first.headers.get("location", "an address that it does not name"))


async def _require_success(response: aiohttp.ClientResponse) -> aiohttp.ClientResponse:
    """Returns the response, or reads the error in it and raises StatusError."""
    if 200 <= response.status < 300:
        return response
    raw = bytearray()
    try:
        with suppress(*CONNECTION_ERRORS):
            while len(raw) < MAX_ERROR and (data := await response.content.readany()):
                raw += data
    finally:
        response.release() if response.content.at_eof() else response.close()
    raise StatusError(response.status, response.headers, _error_body(bytes(raw[:MAX_ERROR])))


def _error_body(raw: bytes) -> object:
    try:
        body: object = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return raw.decode(errors="replace").strip()
    if not isinstance(body, Mapping):
        return body
    error = body.get("error", body)
    # NestJS and others put the name of the status there, and the error beside it.
    return body if isinstance(error, str) and ("message" in body or "detail" in body) else error
