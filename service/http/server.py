"""The HTTP server: reports errors that occur before any handler runs in the API's shape, too.

aiohttp answers requests that it cannot parse as plain text, at the connection. Bodies are not decompressed, since a few
bytes could become any number of bytes before a handler sees one.
"""

from __future__ import annotations

from typing import Any

import structlog
from aiohttp import web
from aiohttp.http_exceptions import BadHttpMessage, LineTooLong
from aiohttp.web_protocol import RequestHandler

from events.ids import IdSource
from service.http.errors import body, first_line, response
from service.http.responses import headers

log = structlog.get_logger()

MAX_HEADER = 16 * 1024
_TOO_MANY = "Too many headers"
_TOO_LONG = "A line or header of the request is too long, or there are too many."


class _Connection(RequestHandler):
    __slots__ = ("_ids",)

    def __init__(self, ids: IdSource, manager: web.Server, **options: Any) -> None:
        super().__init__(manager, **options)
        self._ids = ids

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
    def __init__(self, ids: IdSource, made: web.Server) -> None:
        """A server as aiohttp has made it, with connections of ours."""
        super().__init__(
            made.request_handler,
            request_factory=made.request_factory,
            handler_cancellation=made.handler_cancellation,
            **made._kwargs,
        )
        self._ids = ids

    def __call__(self) -> Any:
        return _Connection(self._ids, self, loop=self._loop, **self._kwargs)


class ApiRunner(web.AppRunner):
    """Runs an application on connections of this class."""

    def __init__(self, app: web.Application, *, ids: IdSource, shutdown_timeout: float) -> None:
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

    async def _make_server(self) -> Any:
        return _Server(self._ids, await super()._make_server())
