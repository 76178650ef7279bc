"""Polls GET /healthz from a process of its own, so that nothing but the server's own event loop delays the answers.

The process gets the server's address and process id, polls every PAUSE_S seconds on one connection, and for each line
on its standard input prints the longest answer in milliseconds since the line before. The time for which the server's
main thread or the polling process was ready but had no processor is left out, because other programs took it.
"""

from __future__ import annotations

import asyncio
import http.client
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

PAUSE_S = 0.005


class Poller:
    """The polling process, as a context. `base_url` is the server's, with /v1, and `pid` its process."""

    def __init__(self, base_url: str, pid: int) -> None:
        self._address = urlsplit(base_url).netloc
        self._pid = pid

    async def __aenter__(self) -> Self:
        command = (sys.executable, "-m", "tests.stalls.poller", self._address, str(self._pid))
        self._process = await asyncio.create_subprocess_exec(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
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
    threads = (Path(f"/proc/{sys.argv[2]}/schedstat"), Path("/proc/self/schedstat"))
    longest = 0.0
    asked = threading.Semaphore(0)
    threading.Thread(target=_read_lines, args=(asked,), daemon=True).start()
    while True:
        started = time.perf_counter() - _waits_s(threads)
        connection.request("GET", "/healthz")
        connection.getresponse().read()
        longest = max(longest, (time.perf_counter() - _waits_s(threads) - started) * 1000)
        if asked.acquire(blocking=False):
            print(round(longest, 1), flush=True)
            longest = 0.0
        time.sleep(PAUSE_S)


def _waits_s(threads: Iterable[Path]) -> float:
    """Returns the seconds for which these threads have waited for a processor; 0 on a system that does not count them.

    A file holds the nanoseconds on a processor and those of waiting
    (https://docs.kernel.org/scheduler/sched-stats.html).
    """
    with suppress(OSError):
        return sum(int(thread.read_bytes().split()[1]) for thread in threads) / 1e9
    return 0.0


def _read_lines(asked: threading.Semaphore) -> None:
    for _ in sys.stdin:
        asked.release()
    os._exit(0)


if __name__ == "__main__":
    main()
