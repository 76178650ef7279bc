"""A process that limits itself, as a ConfinedRunner: used if the sandbox is not available on this machine.

Compared with the sandbox, the process can see the network and the file system (as an account that owns nothing, if the
server runs as root). Its limits of memory, CPU time, files and processes are the same.
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

from service.child_process import environment, helper_id, renounce_privileges
from service.search.parse.parser import ProcessLimits
from service.search.parse.worker import HELPER_ID

READ = 65_536
_ROOT = Path(__file__).resolve().parents[3]


class ChildProcessRunner:
    async def run(
        self, module: str, argument: str, stdin: Callable[[], AsyncIterator[bytes]], limits: ProcessLimits
    ) -> AsyncGenerator[bytes, None]:
        """See `ConfinedRunner`. The module applies `limits` to itself, from its argument."""
        uid = await asyncio.to_thread(helper_id)
        own_id = {} if uid is None else {HELPER_ID: str(uid)}
        # The child imports from the same path as this process.
        path = os.pathsep.join([str(_ROOT), *(entry for entry in sys.path if entry)])
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-m",
            module,
            argument,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment(PYTHONPATH=path, PYTHONDONTWRITEBYTECODE="1", **own_id),
            cwd="/",
            preexec_fn=renounce_privileges,  # one system call, bound before: safe with threads
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
                    os.kill(process.pid, signal.SIGKILL)  # process.kill would reap it without its watcher's knowledge
            await asyncio.wait({feeding})
            await process.stdout.read()  # empties the pipe; asyncio never closes a pipe that still holds data
            await process.wait()


async def _feed(to: asyncio.StreamWriter, stdin: Callable[[], AsyncIterator[bytes]]) -> None:
    """Writes all input, as fast as the process reads it. It is no error if the process stops reading."""
    try:
        async for piece in stdin():
            to.write(piece)
            await to.drain()
    except (BrokenPipeError, ConnectionResetError):
        pass
    finally:
        to.close()
