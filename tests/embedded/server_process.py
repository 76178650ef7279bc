"""A server process for the tests, which is always ended."""

from __future__ import annotations

import json
import os
import re
import selectors
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from tests.machine import clean_environment

ROOT = Path(__file__).resolve().parents[2]
START_TIMEOUT_S = 120.0


class FakeServerProcess:
    """Runs the command line with the fake server: `with FakeServerProcess([...]) as server:`."""

    def __init__(
        self,
        arguments: list[str],
        env: dict[str, str] | None = None,
        python: str = sys.executable,
        uid: int | None = None,
        module: str = "tests.embedded.fake_server",
    ) -> None:
        """With the module `service.cli` it is the real server."""
        clean = clean_environment()
        self.process = subprocess.Popen(
            [python, "-m", module, "serve", *arguments],
            cwd=ROOT,
            env={**clean, **(env or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            user=uid,
            group=uid,
            extra_groups=None if uid is None else [],
        )
        self.output = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self.process.poll() is None:
            for child in self.children():
                child.kill()
            self.process.kill()
        self.process.communicate(timeout=60)

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def wait_until_ready(self) -> str:
        """Waits for the base URL and returns it. Raises TimeoutError."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while "Ctrl-C" not in self.output:
            self.read(deadline - time.monotonic())
        match = re.search(r"Base URL +(\S+)", self.output)
        assert match, self.output
        return match[1]

    def read(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Waits for more output, and adds it to `output`. Raises TimeoutError."""
        assert self.process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            if not selector.select(timeout=timeout_s):
                raise TimeoutError(self.output)
        piece = os.read(self.process.stdout.fileno(), 65536).decode()
        assert piece, self.output
        self.output += piece

    def end(self, number: int = signal.SIGTERM) -> int:
        """Sends the signal and returns the exit code."""
        self.process.send_signal(number)
        return self.wait_for_exit()

    def wait_for_exit(self) -> int:
        """Waits until the process ends without a signal, and returns the exit code."""
        rest, _ = self.process.communicate(timeout=120)
        self.output += rest.decode()
        return self.process.returncode


def fetch(base_url: str, path: str = "about") -> dict[str, Any]:
    """Returns the arguments of the fake server ("about") or the answer of its model ("ask")."""
    with urllib.request.urlopen(f"{base_url}/{path}", timeout=120) as answer:
        body = json.load(answer)
    assert isinstance(body, dict)
    return body
