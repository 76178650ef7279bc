"""Bounds on the connections that clients hold open: in all, for each peer, and by the file descriptors of the process.

A connection without a request costs its client next to nothing, and the server a file descriptor.
"""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

import structlog

from service.tasks.background import background

log = structlog.get_logger()

# Seconds from the opening of a connection, or the first byte of a later request, to the end of the request's headers.
# TLS handshakes have the same bound.
HEADERS_TIMEOUT_S = 10.0
# File descriptors that are kept for the database, upstreams, sandboxes and files: this many, or a quarter of all.
RESERVED_FILES = 512
LOG_INTERVAL_S = 60.0
MAX_NAMES = 4096  # addresses whose names are kept, since each connection and each wrong key needs one
# Seconds between two checks whether a file descriptor is free.
FILES_CHECK_S = 1.0
_FILES_EXHAUSTED = (errno.EMFILE, errno.ENFILE)


class LogLimit:
    """Whether a log event that may recur quickly is due: at most once in LOG_INTERVAL_S seconds."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._last: float | None = None

    def is_due(self) -> bool:
        """Returns whether the event may be logged now, and if so counts it as logged."""
        now = self._now()
        if self._last is not None and now - self._last < LOG_INTERVAL_S:
            return False
        self._last = now
        return True


class ConnectionLimits:
    """Counts the connections that this process serves, in all and by peer.

    `max_of_peer` does not apply to loopback addresses, which proxies on this machine use.
    """

    def __init__(self, max_connections: int, max_of_peer: int) -> None:
        self._max_connections = max_connections
        self._max_of_peer = max_of_peer
        self._open: Counter[str] = Counter()
        self._log_limit = LogLimit()

    @property
    def count(self) -> int:
        """The number of connections that are counted now."""
        return self._open.total()

    def reserve(self, peer: str, descriptor: int) -> bool:
        """Counts a new connection and returns True; returns False if a bound forbids it.

        `peer` is a result of `peer_name`. `descriptor` is the connection's file descriptor. The system gives out the
        lowest free number, so that it shows how many are in use.
        """
        refusal = self._refusal(peer, descriptor)
        if refusal is None:
            self._open[peer] += 1
            return True
        if self._log_limit.is_due():
            log.warning("connection_refused", reason=refusal, peer=peer, connections=self.count)
        return False

    def release(self, peer: str) -> None:
        """Ends the count of a connection that `reserve` counted."""
        self._open[peer] -= 1
        if not self._open[peer]:
            del self._open[peer]

    def _refusal(self, peer: str, descriptor: int) -> str | None:
        if descriptor >= _usable_files():
            return "file descriptors"
        if self.count >= self._max_connections:
            return "max_connections"
        if peer and self._open[peer] >= self._max_of_peer:
            return "max_peer_connections"
        return None


def peer_name(peername: Any) -> str:
    """Returns the name under which a peer's connections are counted; "" if no bound of a peer applies to it.

    `peername` is the extra info of the transport. Addresses of one IPv6 network of 64 bits count as one peer.
    """
    return _name_of(str(peername[0])) if isinstance(peername, tuple) and peername else ""


@lru_cache(maxsize=MAX_NAMES)
def _name_of(host: str) -> str:
    try:
        address: IPv4Address | IPv6Address = ip_address(host.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address.is_loopback:
        return ""
    if isinstance(address, IPv6Address):
        return f"{IPv6Address(int(address) >> 64 << 64)}/64"
    return str(address)


def raise_file_limit() -> None:
    """Raises the soft limit of file descriptors to the hard one. The old limit remains if the system refuses."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (ValueError, OSError) as error:
        log.warning("file_limit_not_raised", soft=soft, hard=hard, error=str(error))


@asynccontextmanager
async def log_exhausted_files(loop: asyncio.AbstractEventLoop) -> AsyncIterator[None]:
    """Logs, at most once a minute, that no file descriptor is free, while the context lasts.

    uvloop closes connections for which it has no descriptor, and reports nothing, so a task looks for a free one every
    FILES_CHECK_S seconds. asyncio reports them to the exception handler of the loop.
    """
    previous, log_limit = loop.get_exception_handler(), LogLimit()

    def handle(running: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, OSError) and error.errno in _FILES_EXHAUSTED:
            _log_exhausted_files(error, log_limit)
        elif previous is not None:
            previous(running, context)
        else:
            running.default_exception_handler(context)

    loop.set_exception_handler(handle)
    try:
        async with background(_check_files(log_limit)):
            yield
    finally:
        loop.set_exception_handler(previous)


async def _check_files(log_limit: LogLimit) -> None:
    while True:
        try:
            os.close(os.open(os.devnull, os.O_RDONLY))
        except OSError as error:
            if error.errno in _FILES_EXHAUSTED:
                _log_exhausted_files(error, log_limit)
        await asyncio.sleep(FILES_CHECK_S)


def _log_exhausted_files(error: OSError, log_limit: LogLimit) -> None:
    if log_limit.is_due():
        log.error("file_descriptors_exhausted", error=str(error))


def _usable_files() -> float:
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return float("inf") if files == resource.RLIM_INFINITY else files - min(RESERVED_FILES, files // 4)
