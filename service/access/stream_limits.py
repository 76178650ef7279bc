"""How many streams may be open at once: of this process, of one API key, of one token that a page was given.

An open stream costs a connection and a watcher for as long as its client likes, and tokens are in browsers' hands.
"""

from __future__ import annotations

import resource
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

# Of a process as many as this, and no more than half of the files that it may have open: other requests come in too.
MAX_OF_SERVER = 5_000
MAX_OF_KEY = 1_000
# Windows of one viewer, and connections that are not seen to be dead yet.
MAX_OF_TOKEN = 20

Whose = Literal["server", "key", "token"]


class TooMany(Exception):
    """As many streams are open as may be."""

    def __init__(self, whose: Whose, limit: int) -> None:
        super().__init__(f"{limit} streams of one {whose} are open")
        self.whose = whose
        self.limit = limit


class Streams:
    """The streams that this process serves."""

    def __init__(self) -> None:
        self._open: Counter[tuple[Whose, str]] = Counter()

    @property
    def count(self) -> int:
        return self._open["server", ""]

    @contextmanager
    def opened(self, key_id: str, token: str | None) -> Iterator[None]:
        """While it lasts one more is open, under that key, and by that token where it came with one. Raises TooMany."""
        limits: dict[tuple[Whose, str], int] = {("key", key_id): MAX_OF_KEY, ("server", ""): _most_of_server()}
        if token is not None:
            limits = {("token", token): MAX_OF_TOKEN, **limits}
        for one, limit in limits.items():
            if self._open[one] >= limit:
                raise TooMany(one[0], limit)
        self._open.update(limits.keys())
        try:
            yield
        finally:
            self._open.subtract(limits.keys())
            for one in limits:
                if not self._open[one]:
                    del self._open[one]


def _most_of_server() -> int:
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_OF_SERVER if files == resource.RLIM_INFINITY else min(MAX_OF_SERVER, files // 2)
