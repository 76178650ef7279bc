"""A parsing process in a sandbox of its own, as `Confined`; where there is no sandbox, a child that limits itself.

Inside is the sandbox's own Python with its packages, and of ours only this package's files; nothing else is to be seen
there, not even a network. Bytes are fed and read piece by piece, so that neither side of a large file is held here.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from importlib.resources import files

from service.sandbox import base
from service.sandbox.base import MIB, SandboxUnavailable
from service.sandbox.bubblewrap import CODE, PYTHON
from service.sandbox.probe import Confinement
from service.sandbox.process import Confined as Process
from service.search.parse.child_process import ChildApart
from service.search.parse.parser import Limits

# Seconds without a piece of input taken or of output given, after which the parser's own bound has long been reached.
PATIENCE_S = 600.0
READ = 65_536
MAIN = "read.py"
# Packages whose modules the sandbox is handed, because its own Python does not have them.
HANDED = ("service.search.parse", "legacy_doc")


class InSandbox:
    """See `parser.Confined`."""

    def __init__(self, confinement: Confinement) -> None:
        self._confinement = confinement
        self._apart = ChildApart()
        self._code: dict[str, str] | None = None

    async def run(
        self, module: str, argument: str, stdin: Callable[[], AsyncIterator[bytes]], limits: Limits
    ) -> AsyncGenerator[bytes, None]:
        try:
            jail = await self._confinement.confined()
        except SandboxUnavailable:
            outside = self._apart.run(module, argument, stdin, limits)
            async with contextlib.aclosing(outside):
                async for piece in outside:
                    yield piece
            return
        if self._code is None:
            self._code = await asyncio.to_thread(_read)
        code = {**self._code, MAIN: f"from {module} import main\nmain()\n"}
        inside = base.Limits(memory=limits.memory, processes=4, disk=limits.file + MIB, inodes=256)
        process = jail.start([PYTHON, "-s", f"{CODE}/{MAIN}", argument], code, inside)
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


async def where_parsed(confinement: Confinement) -> str | None:
    """For /healthz: None where files are parsed in the sandbox, else where and why."""
    try:
        await confinement.confined()
    except SandboxUnavailable as error:
        return f"outside the sandbox, in a process that limits itself: {error}"
    return None


def _read() -> dict[str, str]:
    """The files that the sandbox is handed, by their paths."""
    made: dict[str, str] = {}
    for package in HANDED:
        parts = package.split(".")
        made |= {"/".join([*parts[:count], "__init__.py"]): "" for count in range(1, len(parts))}
        for file in files(package).iterdir():
            if file.name.endswith(".py"):
                made["/".join([*parts, file.name])] = file.read_text()
    return made


async def _feed(process: Process, stdin: Callable[[], AsyncIterator[bytes]]) -> None:
    """Everything, as fast as it is taken; a process that reads no more is none of our concern."""
    try:
        async for piece in stdin():
            await process.write(piece, PATIENCE_S)
    except (BrokenPipeError, TimeoutError):
        pass
    finally:
        process.end_input()


async def _output(process: Process) -> AsyncGenerator[bytes, None]:
    """What it writes, until it ends; what it says at standard error is read too, lest it wait for us."""
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
