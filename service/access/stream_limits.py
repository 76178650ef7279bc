"""Bounds on the SSE streams that are open at once: in this process, under one API key, and with one signed token.

An open stream holds a connection and a watcher until its client closes it, and browsers hold the tokens.
"""

from __future__ import annotations

import resource
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

# Half of the process's file descriptors is a second bound, so that other requests can still connect.
MAX_OF_SERVER = 5_000
MAX_OF_KEY = 1_000
# Enough for several windows of one viewer, and for dead connections that the server has not noticed yet.
MAX_OF_TOKEN = 20

StreamOwner = Literal["server", "key", "token"]


class TooManyStreams(Exception):
    """The owner has `limit` streams open and may open no more."""

    def __init__(self, owner: StreamOwner, limit: int) -> None:
        super().__init__(f"{limit} streams of one {owner} are open")
        self.owner = owner
        self.limit = limit


class StreamLimits:
    """Counts the streams that this process serves, by owner."""

    def __init__(self) -> None:
        self._open: Counter[tuple[StreamOwner, str]] = Counter()

    @property
    def count(self) -> int:
        """The number of streams that are open in this process."""
        return self._open["server", ""]

    @contextmanager
    def reserve(self, key_id: str, token: str | None) -> Iterator[None]:
        """Counts one open stream of the key, and of the token if the request has one, while the context is open.

        Raises TooManyStreams if the token, the key or the process has as many as it may have.
        """
        limits: dict[tuple[StreamOwner, str], int] = {("key", key_id): MAX_OF_KEY, ("server", ""): _server_limit()}
        if token is not None:
            limits = {("token", token): MAX_OF_TOKEN, **limits}
        for owner, limit in limits.items():
            if self._open[owner] >= limit:
                raise TooManyStreams(owner[0], limit)
        self._open.update(limits.keys())
        try:
            yield
        finally:
            self._open.subtract(limits.keys())
            for owner in limits:
                if not self._open[owner]:
                    del self._open[owner]


def _server_limit() -> int:
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_OF_SERVER if files == resource.RLIM_INFINITY else min(MAX_OF_SERVER, files // 2)
