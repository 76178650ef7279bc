"""Parsing, seen from the server: bytes go into a confined process, text comes out, and neither is ever held whole.

Theory. What parses strangers' files is expected to be taken over, to eat all memory and to loop for ever. So it runs
in a process of its own, where `Confined` says how, with a bound on everything: memory, CPU and written bytes by the
kernel; here the wall time (only waiting for the process counts, not what the reader does between) and what it may say.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Literal, Protocol, assert_never

import orjson
import structlog

from service.search.base import IndexingFailed
from service.search.parse.types import kind_of, supported

log = structlog.get_logger(__name__)

MODULE = "service.search.parse.worker"
# Bytes of address space: libraries map about 300 MB before they read anything.
MEMORY = 1536 * 1024 * 1024
CPU_S = 60
# Seconds that the process may let us wait in all.
WALL_S = 180.0
# Bytes of text of one file, in UTF-8: about 5,000,000 tokens are 20 MB of English.
MAX_TEXT = 64 * 1024 * 1024
# Bytes on the way: JSON may write a byte as six.
MAX_OUTPUT = 6 * MAX_TEXT
MAX_LINE = 1024 * 1024
# Bytes that it may spool: a file's own size, and some.
SPOOL_ROOM = 1024 * 1024
# Parsing processes at once.
AT_ONCE = 2

MAX_MESSAGE = 500
TOO_LONG = f"The file holds more than {MAX_TEXT >> 20} MiB of text."
EMPTY = "The file holds no text that could be searched."


@dataclass(frozen=True, slots=True)
class Limits:
    """What a confined process may take: bytes of memory and of what it writes to files, seconds of CPU."""

    memory: int
    cpu_s: int
    file: int


class Confined(Protocol):
    def run(
        self, module: str, argument: str, stdin: Callable[[], AsyncIterator[bytes]], limits: Limits
    ) -> AsyncGenerator[bytes, None]:
        """Runs `python -m module argument` apart from everything: `stdin` in, its stdout out, piece by piece.

        It ends where the process ends, however that may be; closing it ends the process. What `stdin` raises is raised.
        """
        ...


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of a file's text, in order; `page` from 1 where the file has pages or slides."""

    text: str
    page: int | None


Line = Text | IndexingFailed | Literal["ready", "end"]


class Parser:
    """`parse` for as many callers as like; AT_ONCE processes run."""

    def __init__(self, confined: Confined, *, wall_s: float = WALL_S) -> None:
        self._confined = confined
        self._wall_s = wall_s
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def parse(
        self, filename: str, size: int, read: Callable[[], AsyncIterator[bytes]]
    ) -> AsyncGenerator[Text, None]:
        """The file's text. Raises IndexingFailed, also after the first pieces; whatever `read` raises."""
        kind = kind_of(filename)
        if kind is None:
            raise IndexingFailed("unsupported_file", f"Files of this type cannot be searched; these can: {supported()}")
        limits = Limits(MEMORY, CPU_S, size + SPOOL_ROOM)
        argument = orjson.dumps({"kind": kind, "memory": MEMORY, "cpu_s": CPU_S, "file": limits.file}).decode()
        said, some, ready, ended = 0, False, False, False
        async with self._slots:
            output = self._confined.run(MODULE, argument, read, limits)
            async with aclosing(_timed(output, self._wall_s)) as pieces, aclosing(_lines(pieces)) as lines:
                async for line in lines:
                    match line:
                        case Text():
                            said += len(line.text.encode())
                            if said > MAX_TEXT:
                                raise IndexingFailed("invalid_file", TOO_LONG)
                            some = some or not line.text.isspace()
                            yield line
                        case IndexingFailed():
                            raise line
                        case "ready":
                            ready = True
                        case "end":
                            ended = True  # its output's end is still to come: had the input failed, that would raise
                        case _:
                            assert_never(line)
        if not ended:
            log.warning("parser_died", kind=kind, size=size, ready=ready)
            if not ready:
                raise IndexingFailed("server_error", "The process that reads files could not be started.")
            raise IndexingFailed("invalid_file", f"The file takes more memory or time than reading a {kind} file may.")
        if not some:
            raise IndexingFailed("invalid_file", EMPTY)


async def _timed(output: AsyncGenerator[bytes, None], wall_s: float) -> AsyncGenerator[bytes, None]:
    """The same pieces, while waiting for them takes no longer than that in all, and they are not too many."""
    clock = asyncio.get_running_loop().time
    left, room = wall_s, MAX_OUTPUT
    async with aclosing(output):
        while True:
            began = clock()
            try:
                async with asyncio.timeout(left):
                    piece = await anext(output, None)
            except TimeoutError:
                raise IndexingFailed("invalid_file", f"The file takes longer than {wall_s:.0f} s to be read.") from None
            left -= clock() - began
            if piece is None:
                return
            room -= len(piece)
            if room < 0:
                raise IndexingFailed("invalid_file", TOO_LONG)
            yield piece


async def _lines(pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[Line, None]:
    """The child's lines, as far as they are what a child says; one that was taken over may say anything."""
    held = bytearray()
    async for piece in pieces:
        held += piece
        *whole, rest = held.split(b"\n")
        held = rest
        if len(held) > MAX_LINE:
            return
        for line in whole:
            found = _said(bytes(line))
            if found is None:
                return
            yield found


def _said(line: bytes) -> Line | None:
    """What a line says; None for anything that a child does not say."""
    try:
        said = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    match said:
        case {"text": str(text), "page": int() | None as page}:
            return Text(text, page)
        case {"ready": True}:
            return "ready"
        case {"end": True}:
            return "end"
        case {"error": ["invalid_file", str(message)]}:
            return IndexingFailed("invalid_file", message[:MAX_MESSAGE])
        case _:
            return None
