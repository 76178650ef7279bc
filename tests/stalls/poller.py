"""Polls GET /healthz from a process of its own, so that nothing but the server's own event loop delays the answers.

The process gets a URL, polls it every PAUSE_S seconds on one connection, and for each line on its standard input prints
the longest answer in milliseconds since the line before.
"""

from __future__ import annotations

import asyncio
import http.client
import os
import subprocess
import sys
import threading
import time
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

PAUSE_S = 0.005


class Poller:
    """The polling process, as a context. `base_url` is the server's, with /v1."""

    def __init__(self, base_url: str) -> None:
        self._address = urlsplit(base_url).netloc

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.stalls.poller", self._address, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        await self.longest_ms()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()

    async def longest_ms(self) -> float:
        """Returns the longest answer since the call before, in milliseconds."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"\n")
        return float(await self._process.stdout.readline())


def main() -> None:
    connection = http.client.HTTPConnection(sys.argv[1], timeout=120)
    longest = 0.0
    asked = threading.Semaphore(0)
    threading.Thread(target=_read_lines, args=(asked,), daemon=True).start()
    while True:
        started = time.perf_counter()
        connection.request("GET", "/healthz")
        connection.getresponse().read()
        longest = max(longest, (time.perf_counter() - started) * 1000)
        if asked.acquire(blocking=False):
            print(round(longest, 1), flush=True)
            longest = 0.0
        time.sleep(PAUSE_S)


def _read_lines(asked: threading.Semaphore) -> None:
    for _ in sys.stdin:
        asked.release()
    os._exit(0)


if __name__ == "__main__":
    main()
