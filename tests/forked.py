"""The command `everthread` in processes that are forked from one that has imported it.

The import takes two seconds of CPU time, and the tests run the command a hundred times. A forked process is a process
of its own with its own environment and output. It does what the command does, and can be killed. The tests of
tests/cli/test_serve.py and tests/cli/test_main_job.py start the command as users do.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from multiprocessing import reduction
from types import TracebackType
from typing import Any, Self

START_S = 120.0

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["service.app.server", "service.cli.main"])


class ForkedCommand:
    """A running command. It writes to the file descriptors `stdout` and `stderr`, by default to the fork server's.

    `prepare` is called in its process first.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        stdout: int = 1,
        stderr: int = 2,
        prepare: Callable[[], None] | None = None,
    ) -> None:
        run = (list(arguments), dict(environment), _Descriptor(stdout), _Descriptor(stderr), prepare)
        self._process = _CONTEXT.Process(target=_run, args=run, daemon=True)
        self._process.start()

    @property
    def is_running(self) -> bool:
        return self._process.is_alive()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def send_signal(self, number: int) -> None:
        assert self._process.pid is not None
        with suppress(ProcessLookupError):
            os.kill(self._process.pid, number)

    def wait(self, timeout_s: float) -> int:
        """Returns the exit status, which is negative for a signal. Raises TimeoutError."""
        self._process.join(timeout_s)
        if self._process.exitcode is None:
            raise TimeoutError(f"the command has not ended within {timeout_s:.0f} s")
        return self._process.exitcode


def run_command(arguments: Sequence[str], environment: Mapping[str, str], timeout_s: float) -> tuple[int, str, str]:
    """Returns the exit status, the standard output and the standard error of the command, without space around them."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        command = ForkedCommand(arguments, environment, out.fileno(), err.fileno())
        try:
            status = command.wait(timeout_s)
        finally:
            command.send_signal(signal.SIGKILL)
        texts = [os.pread(file.fileno(), 1 << 20, 0).decode().strip() for file in (out, err)]
    return status, texts[0], texts[1]


class ForkedServer:
    """`everthread serve`, and its base URL. Use it as a context manager, which stops the server if it runs still.

    The server writes to the file descriptor `stderr`, by default that of the fork server.
    """

    def __init__(
        self, environment: Mapping[str, str], stderr: int = 2, prepare: Callable[[], None] | None = None
    ) -> None:
        self._environment = {**environment, "EVERTHREAD_PORT": "0"}
        self._stderr = stderr
        self._prepare = prepare
        self.base_url = ""

    @property
    def is_running(self) -> bool:
        return self._command.is_running

    @property
    def pid(self) -> int:
        return self._command.pid

    async def __aenter__(self) -> Self:
        output, theirs = os.pipe()
        self._command = ForkedCommand(["serve"], self._environment, theirs, self._stderr, self._prepare)
        os.close(theirs)
        self._output = os.fdopen(output, "rb")
        try:
            self.base_url = await asyncio.wait_for(asyncio.to_thread(self._read_base_url), START_S)
        except BaseException:
            await self.end(signal.SIGKILL)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.end(signal.SIGTERM)

    def send_signal(self, number: int) -> None:
        self._command.send_signal(number)

    async def end(self, number: int) -> None:
        """Sends the signal, and waits until the process has ended."""
        self._command.send_signal(number)
        await asyncio.to_thread(self._command.wait, START_S)
        self._output.close()

    def _read_base_url(self) -> str:
        for line in self._output:
            if b"OPENAI_BASE_URL=" in line:
                return line.decode().split("OPENAI_BASE_URL=", 1)[1].strip().strip("'\"")
        raise AssertionError("the server ended before it was ready")


class _Descriptor:
    """A file descriptor that the process gets a copy of."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __reduce__(self) -> Any:
        return _receive, (reduction.DupFd(self.number),)


def _receive(sent: Any) -> _Descriptor:
    return _Descriptor(sent.detach())


def _run(
    arguments: list[str],
    environment: dict[str, str],
    stdout: _Descriptor,
    stderr: _Descriptor,
    prepare: Callable[[], None] | None,
) -> None:
    from service.cli.main import main

    os.environ.clear()
    os.environ.update(environment)
    if prepare is not None:
        prepare()
    os.dup2(stdout.number, 1)
    os.dup2(stderr.number, 2)
    sys.argv = ["everthread", *arguments]
    main()
