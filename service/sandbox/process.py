"""A confined process as the server sees it: three pipes, its control group, and its end.

Reads never block and are bounded by the caller, since the process may fill its pipes with anything, without end.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import subprocess
from collections.abc import Sequence

import psutil

from service.sandbox.cgroup import Cgroup

_READ = 64 * 1024
_KILL_S, _EXIT_S, _LOOK_S = 5.0, 1.0, 0.002
_TAIL = 2048


class ConfinedProcess:
    """The process and its pipes.

    `input`, `output` and `errors` are the file descriptors of the process's 0, 1 and 2, or -1 once they are closed.
    """

    def __init__(self, child: subprocess.Popen[bytes], group: Cgroup | None) -> None:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stderr is not None
        self._child = child
        self._group = group
        self.input, self.output, self.errors = (pipe.fileno() for pipe in (child.stdin, child.stdout, child.stderr))
        for fd in (self.input, self.output, self.errors):
            os.set_blocking(fd, False)

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def returncode(self) -> int | None:
        return self._child.poll()

    @property
    def killed_for_memory(self) -> int:
        """Returns the number of its processes that the kernel has killed for lack of memory, if that is counted."""
        return self._group.killed_for_memory() if self._group is not None else 0

    def memory(self) -> int | None:
        """Returns the bytes in use by all its processes, or None if they are not counted."""
        return self._group.memory() if self._group is not None else None

    def cpu_s(self) -> float:
        """Returns the CPU seconds that all its processes have used. Blocks for some milliseconds on /proc if no control
        group counts them.
        """
        counted = self._group.cpu_s() if self._group is not None else None
        if counted is not None:
            return counted
        total = 0.0
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                total += sum(process.cpu_times()[:4])  # with the time of children that have ended
        return total

    def freeze(self) -> bool:
        """Freezes all its processes by their control group. Returns False if that is impossible."""
        return self._group is not None and self._group.freeze()

    def thaw(self) -> None:
        """Lets its frozen processes run."""
        if self._group is not None:
            self._group.thaw()

    def processes(self) -> list[psutil.Process]:
        """Returns the running processes, this one and bubblewrap's first. Blocks for some milliseconds on /proc."""
        try:
            mine = psutil.Process(self.pid)
            return [mine, *mine.children(recursive=True)]
        except psutil.Error:
            return []

    def strangers(self, known: set[int]) -> bool:
        """Returns whether any process but `known` is running."""
        found = self._group.pids() if self._group is not None else {process.pid for process in self.processes()}
        return bool(found - known)

    def read(self, fd: int, at_most: int = _READ) -> bytes | None:
        """Returns the bytes that are available: None if there are none yet, b"" if the pipe has ended."""
        try:
            return os.read(fd, at_most)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    async def readable(self, fds: Sequence[int], timeout: float) -> bool:
        """Waits until one of the pipes has bytes or has ended. Returns False after `timeout` seconds."""
        fds = [fd for fd in fds if fd >= 0]
        if not fds:
            return True
        loop = asyncio.get_running_loop()
        some = asyncio.Event()
        for fd in fds:
            loop.add_reader(fd, some.set)
        try:
            return await _within(some, timeout)
        finally:
            for fd in fds:
                loop.remove_reader(fd)

    async def write(self, data: bytes, timeout: float) -> None:
        """Writes all of `data`. Raises BrokenPipeError if the reader has closed, TimeoutError."""
        if self.input < 0:
            raise BrokenPipeError(errno.EPIPE, "the sandbox is closed")
        loop = asyncio.get_running_loop()
        deadline, view = loop.time() + timeout, memoryview(data)
        while view:
            try:
                view = view[os.write(self.input, view) :]
            except BlockingIOError:
                room = asyncio.Event()
                loop.add_writer(self.input, room.set)
                try:
                    if not await _within(room, deadline - loop.time()):
                        raise TimeoutError from None
                finally:
                    loop.remove_writer(self.input)
            except OSError as error:
                raise BrokenPipeError(errno.EPIPE, "the sandbox is gone") from error

    def end_input(self) -> None:
        """Closes the pipe to the process."""
        self.input = -1
        if self._child.stdin is not None:
            self._child.stdin.close()

    def kill(self) -> None:
        """Kills all its processes at once. `close` must still be called."""
        if self._child.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)  # the process leads a session of its own
        if self._group is not None:
            self._group.kill()

    async def close(self) -> None:
        """Kills all its processes and releases pipes, memory and control group. Does nothing if it is closed."""
        self.kill()
        await self.wait_for_exit(_KILL_S)
        self.input = self.output = self.errors = -1  # the descriptors may be reused
        for pipe in (self._child.stdin, self._child.stdout, self._child.stderr):
            if pipe is not None:
                pipe.close()
        if self._group is not None:
            await asyncio.to_thread(self._group.remove)

    async def wait_for_exit(self, timeout: float) -> bool:
        """Waits until the process has ended. Returns False after `timeout` seconds."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while self._child.poll() is None:
            if loop.time() > deadline:
                return False
            await asyncio.sleep(_LOOK_S)
        return True

    async def end_reason(self, killed_before: int) -> str:
        """Returns the reason why its pipes have ended, in words for the model. `killed_before` is the number of its
        processes that had been killed for lack of memory before the call.
        """
        await self.wait_for_exit(_EXIT_S)
        if self.killed_for_memory > killed_before:
            return "it used more memory than it may"
        code = self.returncode
        if code is None:
            return "it closed its connection"
        number = code - 128 if code > 128 else -code
        try:
            return f"Python was ended by {signal.Signals(number).name}" if number > 0 else f"Python ended (exit {code})"
        except ValueError:
            return f"Python ended (exit {code})"

    def last_words(self) -> str:
        """Returns the last line of its standard error: the reason why it did not start."""
        text = b""
        while (piece := self.read(self.errors)) and len(text) < _READ:
            text += piece
        return text[-_TAIL:].decode(errors="replace").strip().replace("\n", " ")


async def _within(event: asyncio.Event, timeout: float) -> bool:
    try:
        async with asyncio.timeout(max(0.0, timeout)):
            await event.wait()
            return True
    except TimeoutError:
        return event.is_set()
