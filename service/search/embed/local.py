"""An embedded embedding model as the server uses it: a process that starts with the first text and ends when idle.

A model has a process of its own because a text takes 50 ms of CPU and more; because it takes up to 190 MB of memory
(MiniLM 460 MB during a long text), which most servers never need; and because a C++ library that reads strangers' texts
should not run in the server's process.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import struct
import subprocess
import sys
from array import array
from collections.abc import Sequence
from pathlib import Path

import orjson

from service.child_process import environment, helper_id, log_reason, open_log, spawn, stop, wait_for_exit
from service.search.embed.base import EmbedderDied, EmbeddingError, Vector
from service.search.embed.wheels import ModelWheel
from service.storage.temp_folders import TempFolder

# Texts of one request: about a second of work, after which other requests have their turn.
BATCH = 8
# Threads that embed documents, at most. Each of them may take 300 MB during a long text.
MAX_THREADS = 8
START_TIMEOUT_S = 60.0
# For one request, including the time that it waits for other requests.
ANSWER_TIMEOUT_S = 600.0
IDLE_S = 600.0
# The nice value of threads that embed documents, so that queries go first.
NICE = 10
# For the end of a process that closed its output before it was ready.
EXIT_TIMEOUT_S = 2.0
# Statuses above it stand for signals, in a shell and in containers; negative statuses are signals too.
_LAST_OWN_STATUS = 128
_STOP = ((signal.SIGKILL, 5.0),)  # the process holds nothing that a kill could damage
_ROOT = Path(__file__).resolve().parents[3]


class LocalEmbedder:
    """An Embedder of a model in a wheel. If its process dies, the next request starts another."""

    needs_windows = True
    batch = BATCH

    def __init__(self, model: ModelWheel, log: Path, *, idle_s: float = IDLE_S) -> None:
        self.name, self.baseline = model.name, model.baseline
        self._model = model
        self._threads = min(len(os.sched_getaffinity(0)), MAX_THREADS)
        self.at_once = self._threads + 1  # the threads have work while vectors are written
        self._log = log
        self._idle_s = idle_s
        self._child: subprocess.Popen[bytes] | None = None
        self._folder: TempFolder | None = None
        self._starting = asyncio.Lock()

    async def embed(self, texts: Sequence[str], *, query: bool = False) -> list[Vector]:
        """See `Embedder.embed`."""
        if not texts:
            return []
        data = await self._request(orjson.dumps({"texts": list(texts), "query": query}))
        numbers = array("f", data)
        if sys.byteorder == "big":
            numbers.byteswap()
        if len(numbers) != self._model.dimensions * len(texts):
            raise EmbeddingError("The embedding model gave an answer of the wrong length.")
        size = self._model.dimensions
        return [numbers[at : at + size] for at in range(0, len(numbers), size)]

    async def _request(self, body: bytes) -> bytes:
        """Sends a request, and sends it once more to a new process if the process dies. Raises EmbeddingError."""
        for is_last in (False, True):
            try:
                child, path = await self._ensure_running()
            except EmbedderDied:
                if is_last:
                    raise
                continue
            try:
                async with asyncio.timeout(ANSWER_TIMEOUT_S):
                    return await _exchange(path, body)
            except (OSError, asyncio.IncompleteReadError) as error:
                # The process died, or it was idle and ended just when this request arrived.
                async with self._starting:
                    # Another request may have started the next process already.
                    if self._child is child:
                        await self._end()
                if is_last:
                    reason = log_reason(self._log, self._log_start)
                    if isinstance(error, TimeoutError):
                        reason = f"it gave no answer in {ANSWER_TIMEOUT_S:.0f} s"
                    raise EmbedderDied(f"The embedding model died: {reason}") from error
        raise AssertionError("the loop above always returns or raises")

    async def close(self) -> None:
        await self._end()

    async def _ensure_running(self) -> tuple[subprocess.Popen[bytes], Path]:
        """Returns the running process and its socket, starting one if needed. Raises EmbeddingError."""
        async with self._starting:
            if self._child is None or self._child.poll() is not None:
                await self._end()
                await self._start()
            assert self._child is not None
            assert self._folder is not None
            return self._child, self._folder.path / "s"

    async def _start(self) -> None:
        """Starts a process and waits until it is ready. Raises EmbedderDied if that is worth another attempt.

        Only a status that the process chose itself is a lasting fault, as that of damaged weights.
        """
        weights = self._model.find_weights()
        if weights is None:
            raise EmbeddingError(self._model.missing_error)
        # The path of a Unix socket must be short; a path in the data directory could be too long.
        self._folder = TempFolder("embed")
        settings = {
            "socket": str(self._folder.path / "s"),
            "model": self.name,
            "weights": str(weights),
            "sha256": self._model.sha256,
            "threads": self._threads,
            "idle_s": self._idle_s,
            "nice": NICE,
            "uid": await asyncio.to_thread(helper_id),
        }
        # -P keeps the working directory off the child's path; the child imports from the same path as this process.
        command = [sys.executable, "-P", "-m", "service.search.embed.local_process"]
        path = os.pathsep.join([str(_ROOT), *(entry for entry in sys.path if entry)])
        with open_log(self._log) as log:
            self._log_start = log.tell()
            self._child = spawn(
                command,
                cwd=self._log.parent,
                env=environment(PYTHONPATH=path, PYTHONDONTWRITEBYTECODE="1"),
                log=log,
                uid=None,
                death_signal=signal.SIGKILL,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
        child = self._child
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            child.stdin.write(orjson.dumps(settings) + b"\n")
            child.stdin.flush()
            async with asyncio.timeout(START_TIMEOUT_S):
                line = await asyncio.to_thread(child.stdout.readline)
        except (OSError, TimeoutError):
            line = b""
        if line != b"ready\n":
            # The kernel closes the pipe a moment before the process has a status.
            await wait_for_exit(child, EXIT_TIMEOUT_S)
            status = child.poll()
            await self._end()
            if status is not None and 0 < status <= _LAST_OWN_STATUS:
                raise EmbeddingError(f"The embedding model cannot start: {log_reason(self._log, self._log_start)}")
            raise EmbedderDied("The embedding model was killed before it was ready, or took too long.")

    async def _end(self) -> None:
        child, self._child = self._child, None
        folder, self._folder = self._folder, None
        if child is not None:
            await stop(child, _STOP)
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    with contextlib.suppress(OSError):
                        pipe.close()
        if folder is not None:
            folder.remove()


async def _exchange(path: Path, body: bytes) -> bytes:
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        writer.write(struct.pack("<I", len(body)) + body)
        await writer.drain()
        (length,) = struct.unpack("<I", await reader.readexactly(4))
        return await reader.readexactly(length)
    finally:
        writer.transport.abort()
