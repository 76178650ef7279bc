"""Polls GET /healthz from a process of its own, so that nothing but the server's own event loop delays the answers.

The process gets the server's address and process id, polls every PAUSE_S seconds on one connection, and for each line
on its standard input prints the longest answer in milliseconds since the line before.

Time for which other programs had the processors is left out: that for which the server's main thread or the polling
process was ready but did not run, and that for which another thread of the server, which may have the interpreter, was
ready but did not run. An answer takes at least the processor time of the main thread and of the busiest other thread.
"""

from __future__ import annotations

import asyncio
import http.client
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

PAUSE_S = 0.005


@dataclass(frozen=True, slots=True)
class Times:
    """The seconds for which a thread worked on a processor, and those for which it waited for one."""

    work_s: float = 0.0
    wait_s: float = 0.0


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
    server, own = Path(f"/proc/{sys.argv[2]}/task"), Path("/proc/self/task")
    longest = 0.0
    asked = threading.Semaphore(0)
    threading.Thread(target=_read_lines, args=(asked,), daemon=True).start()
    while True:
        before, own_before, started = _times(server), _times(own), time.perf_counter()
        connection.request("GET", "/healthz")
        connection.getresponse().read()
        elapsed = time.perf_counter() - started
        longest = max(longest, 1000 * _held_s(elapsed, _spent(own_before, own), _spent(before, server)))
        if asked.acquire(blocking=False):
            print(round(longest, 1), flush=True)
            longest = 0.0
        time.sleep(PAUSE_S)


def _held_s(elapsed: float, poller: Mapping[int, Times], server: Mapping[int, Times]) -> float:
    """Returns the part of an answer's time for which the server held it up, from the times of the threads in it."""
    main, *others = (server[thread] for thread in sorted(server)) if server else (Times(), Times())
    waits = main.wait_s + sum(times.wait_s for times in poller.values())
    others_wait = max((times.wait_s for times in others), default=0.0)
    worked = main.work_s + max((times.work_s for times in others), default=0.0)
    return max(elapsed - waits - others_wait, min(worked, elapsed - waits))


def _spent(before: Mapping[int, Times], task: Path) -> dict[int, Times]:
    """Returns the times of the threads since `before`."""
    return {
        thread: Times(after.work_s - begun.work_s, after.wait_s - begun.wait_s)
        for thread, after in _times(task).items()
        for begun in (before.get(thread, Times()),)
    }


def _times(task: Path) -> dict[int, Times]:
    """Returns the times of the threads of a process by their ids, of which the main thread has the lowest; none on a
    system that does not count them.

    A file holds the nanoseconds on a processor and those of waiting for one
    (https://docs.kernel.org/scheduler/sched-stats.html).
    """
    found: dict[int, Times] = {}
    for thread in task.glob("*"):
        with suppress(OSError):
            work, wait, _ = (thread / "schedstat").read_bytes().split()
            found[int(thread.name)] = Times(int(work) / 1e9, int(wait) / 1e9)
    return found


def _read_lines(asked: threading.Semaphore) -> None:
    for _ in sys.stdin:
        asked.release()
    os._exit(0)


if __name__ == "__main__":
    main()
