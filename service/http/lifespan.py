"""Starts and stops the HTTP server."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from service.errors import StartupError
from service.http.application import make_app
from service.http.connections import ConnectionLimits, log_exhausted_files
from service.http.server import ApiRunner, ApiSite
from service.http.services import Services
from service.http.shutdown import SHUTDOWN, wait_for_connections
from service.http.tracing import Traces

# Seconds for requests that are still in progress after `shutdown.DRAIN_S`.
SHUTDOWN_TIMEOUT_S = 2.0
BACKLOG = 1024


@asynccontextmanager
async def http_lifespan(
    services: Services, traces: Traces | None, *, host: str, port: int, tls: ssl.SSLContext | None
) -> AsyncIterator[str]:
    """Listens while the context lasts, with TLS if `tls` is given.

    Yields the base URL, which ends in /v1. Raises StartupError.
    """
    app = make_app(services, traces)
    limits = ConnectionLimits(services.settings.max_connections, services.settings.max_peer_connections)
    runner = ApiRunner(app, ids=services.log.ids, limits=limits, shutdown_timeout=SHUTDOWN_TIMEOUT_S)
    await runner.setup()
    try:
        site = ApiSite(runner, host, port, backlog=BACKLOG, ssl_context=tls)
        try:
            await site.start()
        except OSError as error:
            why = error.strerror or error
            raise StartupError(f"Cannot listen at {host}:{port}: {why}. Choose another --port.") from None
        bound_host, bound_port = runner.addresses[0][:2]
        async with log_exhausted_files(asyncio.get_running_loop()):
            yield f"{'http' if tls is None else 'https'}://{_reachable_host(bound_host)}:{bound_port}/v1"
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
