"""A worker as its parent sees it: the process, its channel, and the signs of life that come from it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog

from service.child_process import spawn_peer, wait_for_exit
from service.errors import StartupError
from service.workers.channel import Channel, Message
from service.workers.counts import Counts

log = structlog.get_logger()

_ROOT = Path(__file__).resolve().parents[2]
# Seconds for the start of a worker, beyond the time that it may wait for the database.
START_TIMEOUT_S = 120.0
# Seconds for the end of a process that was killed.
KILL_TIMEOUT_S = 5.0
# The program of a worker.
WORKER_MODULE = "service.cli.worker"


class WorkerLost(StartupError):
    """A worker ended before it served, and gave no reason: it was killed, or it crashed. Another one may succeed."""


class WorkerProcess:
    """A worker from its start to its end.

    `missed_beats` is the number of checks since its last sign of life, `counts` the last counters that it has sent, and
    `is_ready` says if it serves. `console_url` is the address of the console, if the order asks for one.
    """

    def __init__(self, index: int, child: subprocess.Popen[bytes], channel: Channel) -> None:
        self.index = index
        self.pid = child.pid
        self.missed_beats = 0
        self.counts: Counts = {}
        self.is_ready = False
        self.is_retired = False
        self.console_url: str | None = None
        self._child = child
        self._channel = channel
        self._ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._ended = asyncio.Event()
        self._answers: dict[int, asyncio.Future[Message]] = {}
        self._questions = 0

    @classmethod
    async def start(
        cls, index: int, order: Mapping[str, Any], descriptors: Sequence[int], *, module: str = WORKER_MODULE
    ) -> WorkerProcess:
        """Starts a worker that inherits the file descriptors, and sends it its order. Raises StartupError."""
        try:
            ours, its = socket.socketpair()
        except OSError as error:
            raise StartupError(f"A worker cannot be started: {error}") from None
        command = [sys.executable, "-P", "-m", module, str(its.fileno())]
        path = os.pathsep.join([str(_ROOT), *(entry for entry in sys.path if entry)])
        try:
            child = spawn_peer(
                command,
                env={**os.environ, "PYTHONPATH": path},
                descriptors=(its.fileno(), *descriptors),
                death_signal=signal.SIGTERM,
            )
        except (OSError, subprocess.SubprocessError) as error:
            ours.close()
            raise StartupError(f"A worker cannot be started: {error}") from None
        finally:
            its.close()
        try:
            channel = await Channel.open(ours)
        except BaseException as error:
            ours.close()
            child.kill()
            await wait_for_exit(child, KILL_TIMEOUT_S)
            if isinstance(error, OSError):
                raise StartupError(f"A worker cannot be started: {error}") from None
            raise
        process = cls(index, child, channel)
        channel.send("order", **order)
        return process

    @property
    def has_ended(self) -> bool:
        return self._ended.is_set()

    async def run(self, on_message: Callable[[WorkerProcess, Message], None]) -> None:
        """Receives messages until the process has ended. Those that are not of this class go to `on_message`.

        A message that cannot be understood is logged and has no effect: software of another version may send it.
        """
        try:
            while (message := await self._channel.receive()) is not None:
                try:
                    self._handle(message, on_message)
                except Exception:
                    log.exception("worker_message_refused", worker=self.index, pid=self.pid, kind=message.get("kind"))
            while not await wait_for_exit(self._child, timeout_s=3600.0):
                pass
        finally:
            await self._channel.close()
            self._fail(WorkerLost(f"A worker ended before it was ready: {self.describe_end()}"))
            self.is_ready = False
            self._ended.set()

    def _handle(self, message: Message, on_message: Callable[[WorkerProcess, Message], None]) -> None:
        match message["kind"]:
            case "ready":
                self.is_ready = True
                self.console_url = message.get("console_url")
                self._set_ready(message["base_url"])
            case "failed":
                self._fail(StartupError(message["reason"]))
            case "beat":
                self.missed_beats = 0
                if message["counts"]:
                    self.counts = _require_counts(message["counts"])
            case "answer":
                # Counts that were shown once count also if the process ends before its next beat.
                self.counts = _require_counts(message["counts"])
                answer = self._answers.pop(message["id"], None)
                if answer is not None and not answer.done():
                    answer.set_result(message)
            case _:
                on_message(self, message)

    async def wait_until_ready(self, timeout_s: float) -> str:
        """Returns the base URL when the worker serves. Raises StartupError."""
        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.shield(self._ready)
        except TimeoutError:
            raise StartupError(f"A worker is not ready after {timeout_s:.0f} s") from None

    async def wait(self) -> None:
        """Waits until the process has ended."""
        await self._ended.wait()

    async def ask(self, kind: str, timeout_s: float) -> Message | None:
        """Returns the worker's answer, or None if there is none within the time."""
        self._questions += 1
        number = self._questions
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        self._channel.send(kind, id=number)
        try:
            async with asyncio.timeout(timeout_s):
                found: Message = await answer
                return found
        except TimeoutError:
            return None
        finally:
            self._answers.pop(number, None)

    def send(self, kind: str, **fields: Any) -> None:
        self._channel.send(kind, **fields)

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to the process, if it has not ended."""
        if self._child.poll() is None:
            self._child.send_signal(number)

    async def stop(self, timeout_s: float) -> None:
        """Ends the process in order, or by force after `timeout_s`."""
        self.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(timeout_s):
                await self.wait()
        except TimeoutError:
            self.signal(signal.SIGKILL)
            await self.wait()

    def describe_end(self) -> str:
        """Returns the exit status or the signal of a process that has ended."""
        status = self._child.poll()
        if status is None:
            return "it runs"
        if status >= 0:
            return f"exit status {status}"
        try:
            return signal.Signals(-status).name
        except ValueError:  # most signals for real time have no name
            return f"signal {-status}"

    def _set_ready(self, base_url: str) -> None:
        if not self._ready.done():
            self._ready.set_result(base_url)

    def _fail(self, error: StartupError) -> None:
        if not self._ready.done():
            self._ready.set_exception(error)
            self._ready.exception()  # the error counts as retrieved also if nobody waits for it


def _require_counts(counts: object) -> Counts:
    """Returns the counts. Raises TypeError if they are not a dictionary, so that they cannot be added up."""
    if not isinstance(counts, dict):
        raise TypeError("Counts are a dictionary")
    return counts
