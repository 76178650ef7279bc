"""The end of the server's HTTP interface: open streams end with a last frame, and kept-alive connections are closed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web

from service.feed import Watcher

# The reason of streams that end because the server stops.
STOPPING = "The server stops."
# Seconds in which a request on a kept-alive connection is still answered, with `Connection: close`.
DRAIN_S = 1.0
_POLL_S = 0.02


class Shutdown:
    """Whether the server stops, and the watchers of its open streams."""

    def __init__(self) -> None:
        self.is_active = False
        self._is_retiring = False
        self._watchers: set[Watcher] = set()
        self._run_watchers: set[Watcher] = set()

    @contextmanager
    def end_at_stop(self, watcher: Watcher, *, ends_with_run: bool = False) -> Iterator[None]:
        """Ends the watcher when the server stops, while the context lasts."""
        watchers = self._run_watchers if ends_with_run else self._watchers
        watchers.add(watcher)
        if self.is_active or (self._is_retiring and not ends_with_run):
            watcher.end(STOPPING)
        try:
            yield
        finally:
            watchers.discard(watcher)

    def retire(self) -> None:
        """Ends the streams that do not end with their runs. From now on each response closes its connection."""
        self._is_retiring = True
        for watcher in self._watchers:
            watcher.end(STOPPING)

    def begin(self) -> None:
        """Ends all streams. From now on each response closes its connection."""
        self.is_active = True
        for watcher in (*self._watchers, *self._run_watchers):
            watcher.end(STOPPING)

    def close_connection(self, response: web.StreamResponse) -> None:
        """Makes the response close its connection, if the server stops."""
        if self.is_active or self._is_retiring:
            response.force_close()
            response.headers["Connection"] = "close"  # without effect if the headers are sent already


async def wait_for_connections(server: web.Server) -> None:
    """Waits until all connections are closed, at most DRAIN_S seconds."""
    deadline = asyncio.get_running_loop().time() + DRAIN_S
    while server.connections:
        if asyncio.get_running_loop().time() >= deadline:
            return
        await asyncio.sleep(_POLL_S)


async def close_at_shutdown(request: web.Request, response: web.StreamResponse) -> None:
    """Calls `Shutdown.close_connection` for each response (a signal of aiohttp's)."""
    request.app[SHUTDOWN].close_connection(response)


SHUTDOWN: web.AppKey[Shutdown] = web.AppKey("shutdown", Shutdown)
