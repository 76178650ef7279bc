"""The HTTP server: reports errors that occur before any handler runs in the API's shape, too.

aiohttp answers requests that it cannot parse as plain text, at the connection. Bodies are not decompressed, since a few
bytes could become any number of bytes before a handler sees one.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

import structlog
from aiohttp import web
from aiohttp.http_exceptions import BadHttpMessage, LineTooLong
from aiohttp.web_protocol import RequestHandler

from events.ids import IdSource
from service.http import connections
from service.http.connections import ConnectionLimits, peer_name
from service.http.errors import body, first_line, response
from service.http.responses import headers

log = structlog.get_logger()

MAX_HEADER = 16 * 1024
_TOO_MANY = "Too many headers"
_TOO_LONG = "A line or header of the request is too long, or there are too many."
_TOO_MANY_CONNECTIONS = "The server has too many open connections. Please try again."


class _Connection(RequestHandler):
    """A connection that ends if its limits forbid it, or if the headers of a request do not arrive in time."""

    __slots__ = ("_headers_timer", "_ids", "_limits", "_peer")

    def __init__(self, ids: IdSource, limits: ConnectionLimits, manager: web.Server, **options: Any) -> None:
        super().__init__(manager, **options)
        self._ids = ids
        self._limits = limits
        self._peer: str | None = None
        self._headers_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        opened, socket = cast(asyncio.Transport, transport), transport.get_extra_info("socket")
        peer = peer_name(transport.get_extra_info("peername"))
        if not self._limits.reserve(peer, socket.fileno() if socket is not None else 0):
            self._force_close = True
            opened.write(_refusal(self._ids.new("req")))
            opened.close()
            return
        self._peer = peer
        super().connection_made(transport)
        self._start_headers_timer()

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._peer is not None:
            self._limits.release(self._peer)
            self._peer = None
        self._stop_headers_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        requests = self._request_count
        super().data_received(data)
        if self._request_count > requests:
            self._stop_headers_timer()
        elif self._headers_timer is None and self._waiter is not None and not self._waiter.done():
            # No request is in progress, so that the bytes belong to the headers of the next one.
            self._start_headers_timer()

    def _start_headers_timer(self) -> None:
        self._headers_timer = self._loop.call_later(connections.HEADERS_TIMEOUT_S, self.force_close)

    def _stop_headers_timer(self) -> None:
        if self._headers_timer is not None:
            self._headers_timer.cancel()
            self._headers_timer = None

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answers a request that no handler answered, and closes the connection."""
        if request.writer.output_size > 0:
            raise ConnectionError("A response was begun already.")
        request_id = self._ids.new("req")
        if isinstance(exc, LineTooLong) or (message or "").startswith(_TOO_MANY):
            told = response(431, body(_TOO_LONG))
        elif status < 500:
            why = exc.message if isinstance(exc, BadHttpMessage) else message or ""
            told = response(status, body(f"This is no valid HTTP request: {first_line(why)}"))
        else:
            log.error("request_failed_before_handler", request_id=request_id, exc_info=exc)
            told = response(500, body("The server had an error while processing your request.", kind="server_error"))
        told.headers.update(headers(request_id, 1))
        told.force_close()
        return told


class _Server(web.Server):
    def __init__(self, ids: IdSource, limits: ConnectionLimits, made: web.Server) -> None:
        """A server as aiohttp has made it, with connections of ours."""
        super().__init__(
            made.request_handler,
            request_factory=made.request_factory,
            handler_cancellation=made.handler_cancellation,
            **made._kwargs,
        )
        self._ids = ids
        self._limits = limits

    def __call__(self) -> Any:
        return _Connection(self._ids, self._limits, self, loop=self._loop, **self._kwargs)


class ApiRunner(web.AppRunner):
    """Runs an application on connections of this class."""

    def __init__(
        self, app: web.Application, *, ids: IdSource, limits: ConnectionLimits, shutdown_timeout: float
    ) -> None:
        super().__init__(
            app,
            access_log=None,
            handle_signals=False,
            shutdown_timeout=shutdown_timeout,
            max_line_size=MAX_HEADER,
            max_field_size=MAX_HEADER,
            auto_decompress=False,
        )
        self._ids = ids
        self._limits = limits

    async def _make_server(self) -> Any:
        return _Server(self._ids, self._limits, await super()._make_server())


class ApiSite(web.SockSite):
    """A site at a socket that listens already, whose TLS handshakes have a time-out as short as that of headers."""

    async def start(self) -> None:
        await web.BaseSite.start(self)
        server = self._runner.server
        assert server is not None
        self._server = await asyncio.get_running_loop().create_server(
            cast(Any, server),
            sock=self._sock,
            ssl=self._ssl_context,
            backlog=self._backlog,
            ssl_handshake_timeout=connections.HEADERS_TIMEOUT_S if self._ssl_context is not None else None,
        )


def _refusal(request_id: str) -> bytes:
    """Returns a response of 503 as bytes, for a connection whose request is not read."""
    refused = response(503, body(_TOO_MANY_CONNECTIONS, kind="server_error"))
    content = refused.body if isinstance(refused.body, bytes) else b""
    fields = {
        **refused.headers,
        "Content-Length": str(len(content)),
        "Connection": "close",
        **headers(request_id, 0),
    }
    lines = ("HTTP/1.1 503 Service Unavailable", *(f"{name}: {value}" for name, value in fields.items()))
    return "\r\n".join((*lines, "", "")).encode() + content
