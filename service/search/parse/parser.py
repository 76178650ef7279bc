"""Parsing as the server sees it: bytes go into a confined process and text comes out; neither is held whole.

A process that parses strangers' files must be expected to be taken over, to use all memory and to loop forever. So it
runs in a process of its own, confined by a ConfinedRunner, with a bound on everything. The kernel limits memory, CPU
time and written bytes. This module limits the time spent waiting for the process (not the time that the consumer takes
between pieces) and the amount of its output.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Literal, Protocol, assert_never

import orjson
import structlog

from service.fair_places import OpenPlaces, open_own_places
from service.search.base import IndexingFailure, IndexingInterrupted
from service.search.parse.types import format_of, list_endings

log = structlog.get_logger(__name__)

MODULE = "service.search.parse.worker"
# Bytes of address space. The libraries map about 300 MB before they read any input.
MEMORY = 1536 * 1024 * 1024
CPU_S = 60
# Seconds spent waiting for the process, in all.
WALL_S = 180.0
# Bytes of text of one file, in UTF-8. 5,000,000 tokens of English are about 20 MB.
MAX_TEXT = 64 * 1024 * 1024
# Bytes of output. JSON may escape a byte as six.
MAX_OUTPUT = 6 * MAX_TEXT
MAX_LINE = 1024 * 1024
# Bytes that the process may write to its spool file beyond the size of its input.
SPOOL_ROOM = 1024 * 1024
# Parsing processes at once. Two of them are for flows of files that have none.
AT_ONCE, RESERVED = 4, 2

MAX_MESSAGE = 500
TOO_LONG = f"The file holds more than {MAX_TEXT >> 20} MiB of text."
EMPTY = "The file holds no text that could be searched."


@dataclass(frozen=True, slots=True)
class ProcessLimits:
    """Limits of a confined process: `memory` and `file` (the largest file that it may write) in bytes."""

    memory: int
    cpu_s: int
    file: int


class ConfinedRunner(Protocol):
    def run(
        self, module: str, argument: str, stdin: Callable[[], AsyncIterator[bytes]], limits: ProcessLimits
    ) -> AsyncGenerator[bytes, None]:
        """Runs `python -m module argument` in isolation; feeds it `stdin` and yields its stdout piece by piece.

        The generator ends when the process ends, in any way; closing it kills the process. It raises the
        errors of `stdin`.
        """
        ...


@dataclass(frozen=True, slots=True)
class ParsedText:
    """A piece of a file's text, in order; `page` counts from 1, and is None if the file has no pages or slides."""

    text: str
    page: int | None


WorkerLine = ParsedText | IndexingFailure | Literal["ready", "end"]


class Parser:
    """Parses files for any number of callers, with at most AT_ONCE processes."""

    def __init__(
        self, runner: ConfinedRunner, *, wall_s: float = WALL_S, open_places: OpenPlaces = open_own_places
    ) -> None:
        self._runner = runner
        self._wall_s = wall_s
        self._places = open_places("parsers", AT_ONCE, reserve=RESERVED)

    async def parse(
        self, filename: str, size: int, read: Callable[[], AsyncIterator[bytes]], *, flow: str = ""
    ) -> AsyncGenerator[ParsedText, None]:
        """Yields the file's text. Flows of files, such as the small files of a project, take turns for processes.

        Raises IndexingFailure, possibly after the first pieces, and the errors of `read`.
        """
        file_format = format_of(filename)
        if file_format is None:
            raise IndexingFailure(
                "unsupported_file", f"Files of this type cannot be searched; these can: {list_endings()}"
            )
        limits = ProcessLimits(MEMORY, CPU_S, size + SPOOL_ROOM)
        argument = orjson.dumps({"format": file_format, "memory": MEMORY, "cpu_s": CPU_S, "file": limits.file}).decode()
        text_bytes, has_text, ready, ended = 0, False, False, False
        async with self._places.hold(flow):
            output = self._runner.run(MODULE, argument, read, limits)
            async with aclosing(_limit(output, self._wall_s)) as pieces, aclosing(_lines(pieces)) as lines:
                async for line in lines:
                    match line:
                        case ParsedText():
                            text_bytes += len(line.text.encode())
                            if text_bytes > MAX_TEXT:
                                raise IndexingFailure("invalid_file", TOO_LONG)
                            has_text = has_text or not line.text.isspace()
                            yield line
                        case IndexingFailure():
                            raise line
                        case "ready":
                            ready = True
                        case "end":
                            ended = True  # the output is still read to its end, so that an error of `read` is raised
                        case _:
                            assert_never(line)
        if not ended:
            log.warning("parser_process_died", format=file_format, size=size, ready=ready)
            if not ready:
                raise IndexingInterrupted("The process that reads files could not be started.")
            raise IndexingFailure(
                "invalid_file", f"The file takes more memory or time than reading a {file_format} file may."
            )
        if not has_text:
            raise IndexingFailure("invalid_file", EMPTY)


async def _limit(output: AsyncGenerator[bytes, None], wall_s: float) -> AsyncGenerator[bytes, None]:
    """Yields the same pieces. Raises IndexingFailure after `wall_s` seconds of waiting in all or MAX_OUTPUT bytes."""
    clock = asyncio.get_running_loop().time
    left, room = wall_s, MAX_OUTPUT
    async with aclosing(output):
        while True:
            began = clock()
            try:
                async with asyncio.timeout(left):
                    piece = await anext(output, None)
            except TimeoutError:
                raise IndexingFailure(
                    "invalid_file", f"The file takes longer than {wall_s:.0f} s to be read."
                ) from None
            left -= clock() - began
            if piece is None:
                return
            room -= len(piece)
            if room < 0:
                raise IndexingFailure("invalid_file", TOO_LONG)
            yield piece


async def _lines(pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[WorkerLine, None]:
    """Yields the worker's lines, and ends at the first invalid line: the process may have been taken over."""
    rest = bytearray()
    async for piece in pieces:
        rest += piece
        *lines, rest = rest.split(b"\n")
        if len(rest) > MAX_LINE:
            return
        for line in lines:
            parsed = _parse_line(bytes(line))
            if parsed is None:
                return
            yield parsed


def _parse_line(line: bytes) -> WorkerLine | None:
    """Returns the parsed line, or None if the worker never writes such a line."""
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    match value:
        case {"text": str(text), "page": int() | None as page}:
            return ParsedText(text, page)
        case {"ready": True}:
            return "ready"
        case {"end": True}:
            return "end"
        case {"error": ["invalid_file", str(message)]}:
            return IndexingFailure("invalid_file", message[:MAX_MESSAGE])
        case _:
            return None
