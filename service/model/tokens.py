"""Counting tokens, in a process of its own that starts with the first text and ends when it is idle.

Loading a vocabulary holds the interpreter for 0.2–0.35 s and takes 25 or 43 MB. Most servers never count: upstreams
report the tokens of a call, and `token_bound` decides for most prompts without a vocabulary, since a token has at least
one byte, so there are never more tokens than UTF-8 bytes.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import weakref
from array import array
from functools import cache
from pathlib import Path

from service.child_process import environment, spawn
from service.model.token_process import ANSWER, ENCODINGS, LENGTH_BYTES, REQUEST, read_exactly
from service.model.vocabularies import EncodingName

SLICE = 50_000  # characters passed to tiktoken at once; its time is not linear in text without word borders
IDLE_S = 600.0
# For a slice, including the start of the process and the load of a vocabulary.
ANSWER_TIMEOUT_S = 120.0
# Tries of a slice, each in a new process, in case the text itself kills the process. A process may be killed at any
# time, as by a system that lacks memory, and a run must not fail by that.
MAX_TRIES = 5
_ROOT = Path(__file__).resolve().parents[2]


class TokenProcessError(Exception):
    """The process that counts tokens has ended MAX_TRIES times over a text, or does not answer."""


class Tokens:
    """Counts tokens. All methods but `prepare` block, and are safe to call from any thread.

    They raise TokenProcessError. If the process has ended, the next text starts another one. The kernel also ends it
    with the thread that started it.
    """

    def __init__(self, idle_s: float = IDLE_S) -> None:
        self._lock = threading.Lock()
        self._idle_s = idle_s
        self._connection: socket.socket | None = None
        # Ends the process and closes the connection, at the latest when this object or this process ends.
        self._end: weakref.finalize[..., Tokens] | None = None

    async def prepare(self, encoding: EncodingName) -> None:
        """Loads an encoding without blocking the event loop."""
        await asyncio.to_thread(self._token_lengths, encoding, b"")

    def count(self, encoding: EncodingName, text: str) -> int:
        """Returns the number of tokens of `text`; names of special tokens count as ordinary text.

        A long text is counted in slices, which may add a token for each slice.
        """
        return sum(len(self._token_lengths(encoding, piece)) for piece in _slices(text))

    def token_bytes(self, encoding: EncodingName, text: str) -> list[bytes]:
        """Returns the bytes of each token, in order. Joined they are the UTF-8 of `text`; a character may be divided
        between tokens."""
        tokens = list[bytes]()
        for piece in _slices(text):
            at = 0
            for length in self._token_lengths(encoding, piece):
                tokens.append(piece[at : at + length])
                at += length
        return tokens

    def _token_lengths(self, encoding: EncodingName, text: bytes) -> array[int]:
        """Returns the number of bytes of each token of a slice. One slice is divided at a time."""
        with self._lock:
            for attempt in range(1, MAX_TRIES + 1):
                try:
                    return self._request(self._connection or self._start(), encoding, text)
                except (OSError, EOFError) as error:
                    # The process died, or it was idle and ended just when this request was sent.
                    if self._end is not None:
                        self._end()
                    self._connection = None
                    if attempt == MAX_TRIES or isinstance(error, TimeoutError):
                        raise TokenProcessError(f"The process that counts tokens failed: {error!r}") from error
        raise AssertionError("the loop above always returns or raises")

    def _request(self, connection: socket.socket, encoding: EncodingName, text: bytes) -> array[int]:
        connection.sendall(REQUEST.pack(ENCODINGS.index(encoding), len(text)) + text)
        (count,) = ANSWER.unpack(read_exactly(connection, ANSWER.size))
        return array("H", read_exactly(connection, count * LENGTH_BYTES))

    def _start(self) -> socket.socket:
        connection, theirs = socket.socketpair()
        connection.settimeout(ANSWER_TIMEOUT_S)
        path = os.pathsep.join([str(_ROOT), *(entry for entry in sys.path if entry)])
        # -P keeps the working directory off the child's path; the child imports from the same path as this process.
        with theirs, open(os.devnull, "wb") as log:
            child = spawn(
                [sys.executable, "-P", "-m", "service.model.token_process", str(self._idle_s)],
                cwd=Path("/"),
                env=environment(PYTHONPATH=path, PYTHONDONTWRITEBYTECODE="1"),
                log=log,
                uid=None,
                death_signal=signal.SIGKILL,
                stdin=theirs.fileno(),
            )
        self._connection, self._end = connection, weakref.finalize(self, _end_process, child, connection)
        return connection


@cache
def process_tokens() -> Tokens:
    """Returns the counter of this process, which all its parts share."""
    return Tokens()


def token_bound(text: str) -> int:
    """Returns an upper bound of the tokens of `text` in any byte-level encoding: the number of its UTF-8 bytes."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))


def _slices(text: str) -> list[bytes]:
    """Returns the slices of the text in UTF-8, with U+FFFD for half surrogate pairs, as tiktoken has it."""
    try:
        return [text[at : at + SLICE].encode() for at in range(0, len(text), SLICE)]
    except UnicodeEncodeError:
        return _slices(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))


def _end_process(child: subprocess.Popen[bytes], connection: socket.socket) -> None:
    connection.close()
    child.kill()
    child.wait()
