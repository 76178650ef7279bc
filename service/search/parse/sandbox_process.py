"""A parsing process in a sandbox of its own, as a ConfinedRunner. Without a sandbox it uses a ChildProcessRunner.

The sandbox contains its own Python with its packages, and of our code only the files of this package. The process sees
nothing else, not even a network. Bytes are written and read piece by piece, so neither the file nor its text is held in
memory here.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from importlib.resources import files

from service.sandbox import base
from service.sandbox.base import MIB, SandboxUnavailable
from service.sandbox.bubblewrap import CODE, PYTHON
from service.sandbox.probe import SandboxProbe
from service.sandbox.process import ConfinedProcess
from service.search.parse.child_process import ChildProcessRunner
from service.search.parse.parser import ProcessLimits

# Seconds in which the process neither takes input nor gives output. The parser's own limits end it long before.
PATIENCE_S = 600.0
READ = 65_536
MAIN = "read.py"
# Packages whose modules are passed into the sandbox, because its Python does not have them.
PASSED_PACKAGES = ("service.search.parse", "legacy_doc")


class SandboxRunner:
    """See `parser.ConfinedRunner`."""

    def __init__(self, probe: SandboxProbe) -> None:
        self._probe = probe
        self._fallback = ChildProcessRunner()
        self._code: dict[str, str] | None = None

    async def run(
        self, module: str, argument: str, stdin: Callable[[], AsyncIterator[bytes]], limits: ProcessLimits
    ) -> AsyncGenerator[bytes, None]:
        try:
            launcher = await self._probe.launcher()
        except SandboxUnavailable:
            outside = self._fallback.run(module, argument, stdin, limits)
            async with contextlib.aclosing(outside):
                async for piece in outside:
                    yield piece
            return
        if self._code is None:
            self._code = await asyncio.to_thread(_read_code)
        code = {**self._code, MAIN: f"from {module} import main\nmain()\n"}
        inside = base.Limits(memory=limits.memory, processes=4, disk=limits.file + MIB, inodes=256)
        process = launcher.start([PYTHON, "-s", f"{CODE}/{MAIN}", argument], code, inside)
        feeding = asyncio.create_task(_feed(process, stdin))
        try:
            async for piece in _output(process):
                yield piece
            if feeding.done():
                feeding.result()
        finally:
            feeding.cancel()
            process.kill()
            await asyncio.wait({feeding})
            await process.close()


async def describe_fallback(probe: SandboxProbe) -> str | None:
    """Returns None if files are parsed in the sandbox; otherwise where they are parsed, and why, for /healthz."""
    try:
        await probe.launcher()
    except SandboxUnavailable as error:
        return f"outside the sandbox, in a process that limits itself: {error}"
    return None


def _read_code() -> dict[str, str]:
    """Returns the source files for the sandbox by their paths there."""
    code: dict[str, str] = {}
    for package in PASSED_PACKAGES:
        parts = package.split(".")
        code |= {"/".join([*parts[:count], "__init__.py"]): "" for count in range(1, len(parts))}
        for file in files(package).iterdir():
            if file.name.endswith(".py"):
                code["/".join([*parts, file.name])] = file.read_text()
    return code


async def _feed(process: ConfinedProcess, stdin: Callable[[], AsyncIterator[bytes]]) -> None:
    """Writes all input, as fast as the process reads it. It is no error if the process stops reading."""
    try:
        async for piece in stdin():
            await process.write(piece, PATIENCE_S)
    except (BrokenPipeError, TimeoutError):
        pass
    finally:
        process.end_input()


async def _output(process: ConfinedProcess) -> AsyncGenerator[bytes, None]:
    """Yields the output of the process until it ends. Its stderr is read too, so that a full pipe never blocks it."""
    open_fds = [process.output, process.errors]
    while process.output in open_fds:
        if not await process.readable(open_fds, PATIENCE_S):
            return
        for fd in list(open_fds):
            piece = process.read(fd, READ)
            if piece == b"":
                open_fds.remove(fd)
            elif piece and fd == process.output:
                yield piece
