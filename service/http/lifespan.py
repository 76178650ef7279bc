"""Starts and stops the HTTP server."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from service.errors import StartupError
from service.http.application import make_app
from service.http.connections import ConnectionLimits, log_exhausted_files
from service.http.server import ApiRunner, ApiSite
from service.http.services import Services
from service.http.shutdown import SHUTDOWN, Shutdown, wait_for_connections
from service.http.tracing import Traces
from service.workers.listeners import BACKLOG, open_listeners

# Seconds for requests that are still in progress after `shutdown.DRAIN_S`.
SHUTDOWN_TIMEOUT_S = 2.0


class HttpServer:
    """The HTTP server while it listens. `base_url` ends in /v1."""

    def __init__(self, runner: ApiRunner, shutdown: Shutdown, base_url: str) -> None:
        self.base_url = base_url
        self._runner = runner
        self._shutdown = shutdown

    async def retire(self) -> None:
        """Accepts no further connections, and closes each at the end of its request. Streams of runs go on.

        Connections without a request are closed after DRAIN_S seconds.
        """
        self._shutdown.retire()
        for listening in tuple(self._runner.sites):
            await listening.stop()
        if self._runner.server is not None:
            await wait_for_connections(self._runner.server)
            self._runner.server.pre_shutdown()

    @property
    def has_connections(self) -> bool:
        """Whether connections are open. After `retire`, they are those of requests in progress."""
        return self._runner.server is not None and bool(self._runner.server.connections)


@asynccontextmanager
async def http_lifespan(
    services: Services,
    traces: Traces | None,
    *,
    host: str,
    port: int,
    tls: ssl.SSLContext | None,
    listeners: Sequence[socket.socket] = (),
) -> AsyncIterator[HttpServer]:
    """Listens while the context lasts, with TLS if `tls` is given: at `listeners`, or else at the host and port.

    Raises StartupError.
    """
    app = make_app(services, traces)
    limits = ConnectionLimits(services.settings.max_connections, services.settings.max_peer_connections)
    runner = ApiRunner(app, ids=services.log.ids, limits=limits, shutdown_timeout=SHUTDOWN_TIMEOUT_S)
    await runner.setup()
    try:
        try:
            for listener in listeners or open_listeners(host, port):
                await ApiSite(runner, listener, backlog=BACKLOG, ssl_context=tls).start()
        except OSError as error:
            why = error.strerror or error
            raise StartupError(f"Cannot listen at {host}:{port}: {why}. Choose another --port.") from None
        bound_host, bound_port = runner.addresses[0][:2]
        base_url = f"{'http' if tls is None else 'https'}://{_reachable_host(bound_host)}:{bound_port}/v1"
        async with log_exhausted_files(asyncio.get_running_loop()):
            yield HttpServer(runner, app[SHUTDOWN], base_url)
    finally:
        app[SHUTDOWN].begin()
        for listening in tuple(runner.sites):
            await listening.stop()
        if runner.server is not None:
            await wait_for_connections(runner.server)
        await runner.cleanup()


def load_tls(cert: Path | None, key: Path | None) -> ssl.SSLContext | None:
    """Returns the TLS of a server with these PEM files; None if there are none. Raises StartupError."""
    if cert is None or key is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        # An encrypted key would ask for its password at the terminal.
        context.load_cert_chain(cert, key, password="")
    except (OSError, ValueError) as error:
        raise StartupError(f"EVERTHREAD_TLS_CERT and EVERTHREAD_TLS_KEY cannot be used: {error}") from None
    return context


def _reachable_host(host: str) -> str:
    """Returns a host that clients on this machine can use."""
    if host in ("0.0.0.0", "::"):
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
