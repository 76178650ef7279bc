"""A module of ours over bytes that may be hostile, in a sandbox of its own: bytes in, bytes out.

For parsers of documents, whose libraries a small file can drive to gigabytes or minutes. The module runs in the
sandbox's Python, sees its standard input, writes its answer to standard output, and is gone afterwards, whatever it
did. Where namespaces are forbidden it runs as a plain child: with the same limits, as an unprivileged user where we
are root, but with this machine's files in sight. That is for our own code only; never run theirs so.

    job = Job(main="parse.py", code=sources("service.search.parsing", "parse.py", "office.py"))
    text = await jobs.run(job, data, arguments=("pdf",), limits=Limits(wall_s=30, memory=512 * MIB))
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Literal

from service.sandbox.base import MIB, Limits
from service.sandbox.bubblewrap import CODE, PYTHON, Jail
from service.sandbox.probe import SandboxProbe
from service.sandbox.process import ConfinedProcess

Why = Literal["too_slow", "out_of_memory", "too_much_output", "crashed"]

JOB_LIMITS = Limits(wall_s=30.0, memory=512 * MIB, processes=8, disk=64 * MIB, inodes=1024)
_ERRORS = 4096  # of what it said at standard error, the end
_TURN = 64 * 1024
_END_S = 2.0  # from the end of its pipes to its own


class JobFailed(Exception):
    """The job gave no answer. `why` tells what happened, the message the end of what it wrote to standard error."""

    def __init__(self, why: Why, message: str) -> None:
        super().__init__(message)
        self.why = why


@dataclass(frozen=True, slots=True)
class Job:
    """A script and the modules beside it: file name → text. `main` is one of them."""

    main: str
    code: Mapping[str, str]


def sources(package: str, *names: str) -> dict[str, str]:
    """Files of a package of ours as a job's code."""
    return {name: files(package).joinpath(name).read_text() for name in names}


class Jobs:
    """Runs jobs; `at_once` of them at a time, the others wait."""

    def __init__(self, confinement: SandboxProbe, *, at_once: int = 2) -> None:
        self._confinement = confinement
        self._turns = asyncio.Semaphore(at_once)

    async def run(
        self,
        job: Job,
        data: bytes,
        *,
        arguments: Sequence[str] = (),
        limits: Limits = JOB_LIMITS,
        at_most: int = 64 * MIB,
    ) -> bytes:
        """What the job wrote to standard output, `at_most` bytes of it.

        Raises JobFailed, and SandboxUnavailable where the sandbox's Python is not there.
        """
        async with self._turns:
            jail, confined = await self._confinement.either()
            if confined:
                command = [PYTHON, "-s", f"{CODE}/{job.main}", *arguments]
                return await _answer(lambda: jail.start(command, job.code, limits), data, limits.wall_s, at_most)
            return await _plainly(jail, job, data, arguments, limits, at_most)


async def _plainly(jail: Jail, job: Job, data: bytes, arguments: Sequence[str], limits: Limits, at_most: int) -> bytes:
    with tempfile.TemporaryDirectory(prefix="everthread-job-") as name:
        folder = Path(name)
        _write_readable(folder, job.code)
        command = [str(jail.environment.interpreter), "-s", str(folder / job.main), *arguments]
        return await _answer(lambda: jail.start_plain(command, limits), data, limits.wall_s, at_most)


def _write_readable(folder: Path, code: Mapping[str, str]) -> None:
    folder.chmod(0o755)
    for name, text in code.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o644)


async def _answer(start: Callable[[], ConfinedProcess], data: bytes, wall_s: float, at_most: int) -> bytes:
    try:
        process = start()
    except OSError as error:
        raise JobFailed("crashed", f"it could not be started: {error.strerror}") from None
    feeding = asyncio.create_task(_feed(process, data, wall_s))
    try:
        output, errors = await _read(process, wall_s, at_most)
        said = errors.decode(errors="replace").strip()
        if process.killed_for_memory:
            raise JobFailed("out_of_memory", said)
        await process.wait_for_exit(_END_S)
        if process.returncode != 0:
            raise JobFailed("out_of_memory" if "MemoryError" in said else "crashed", said)
        return output
    finally:
        feeding.cancel()
        await asyncio.wait({feeding})
        await process.close()


async def _feed(process: ConfinedProcess, data: bytes, wall_s: float) -> None:
    try:
        await process.write(data, wall_s)
    except (BrokenPipeError, TimeoutError):
        return  # it did not want all of it; its answer tells
    process.end_input()


async def _read(process: ConfinedProcess, wall_s: float, at_most: int) -> tuple[bytes, bytes]:
    """All of its output and the end of its errors, once both pipes have ended. Raises JobFailed."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wall_s
    output, errors, open_fds = bytearray(), b"", [process.output, process.errors]
    while open_fds:
        left = deadline - loop.time()
        if left <= 0 or not await process.readable(open_fds, left):
            raise JobFailed("too_slow", f"it took more than {wall_s:.0f} s")
        for fd in list(open_fds):
            piece = process.read(fd, _TURN)
            if piece == b"":
                open_fds.remove(fd)
            elif piece and fd == process.output:
                output += piece
            elif piece:
                errors = (errors + piece)[-_ERRORS:]
        if len(output) > at_most:
            raise JobFailed("too_much_output", f"it wrote more than {at_most} bytes")
    return bytes(output), errors
