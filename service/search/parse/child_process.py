"""A child that limits itself, as `Confined`: for where namespaces are forbidden, or the sandbox is not set up.

What it lacks against the sandbox: it sees the file system (as an account that owns nothing, where we are root) and the
network. Limits of memory, CPU, files and processes hold here too.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path

from service.child_process import environment
from service.search.parse.parser import Limits

READ = 65_536
_ROOT = Path(__file__).resolve().parents[3]


class ChildApart:
    async def run(
        self, module: str, argument: str, stdin: Callable[[], AsyncIterator[bytes]], limits: Limits
    ) -> AsyncGenerator[bytes, None]:
        """See `Confined`. The module applies `limits` itself, from its argument."""
        # The child finds what we find, however we came to find it.
        path = os.pathsep.join([str(_ROOT), *(entry for entry in sys.path if entry)])
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", module, argument),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment(PYTHONPATH=path, PYTHONDONTWRITEBYTECODE="1"),
            cwd="/",
            start_new_session=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        feeding = asyncio.create_task(_feed(process.stdin, stdin))
        try:
            while piece := await process.stdout.read(READ):
                yield piece
            if feeding.done():
                feeding.result()
        finally:
            feeding.cancel()
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)  # process.kill would reap it behind its watcher's back
            await asyncio.wait({feeding})
            await process.stdout.read()  # what lies in the pipe still; a pipe that is not read is never closed
            await process.wait()


async def _feed(to: asyncio.StreamWriter, stdin: Callable[[], AsyncIterator[bytes]]) -> None:
    """Everything, as fast as it is taken; a child that reads no more is none of our concern."""
    try:
        async for piece in stdin():
            to.write(piece)
            await to.drain()
    except (BrokenPipeError, ConnectionResetError):
        pass
    finally:
        to.close()
