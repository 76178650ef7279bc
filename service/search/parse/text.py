"""Text of any encoding: code, prose, tables of comma-separated values, JSON."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import BinaryIO

from charset_normalizer import from_bytes

from service.search.parse.types import READ, Piece, Unreadable

# What the guess of an encoding looks at.
SAMPLE = 65_536
# Most text that is no Unicode is in this.
WESTERN = "cp1252"
# A sample of text has few control characters; one with more is no text.
_CONTROL = frozenset(range(32)) - {7, 8, 9, 10, 11, 12, 13, 27}
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def parse(file: BinaryIO) -> Iterator[Piece]:
    """The text as it is, lines and all."""
    encoding = encoding_of(file)
    file.seek(0)
    decode = codecs.getincrementaldecoder(encoding)(errors="replace").decode
    while data := file.read(READ):
        yield decode(data), None
    yield decode(b"", True), None


def encoding_of(file: BinaryIO) -> str:
    """By its mark, else UTF-8 where the whole file is that, else a guess. Raises Unreadable for what is no text."""
    head = file.read(SAMPLE)
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding
    file.seek(0)
    decode = codecs.getincrementaldecoder("utf-8")().decode
    try:
        while data := file.read(READ):
            decode(data)
        decode(b"", True)
    except UnicodeDecodeError:
        return _guessed(head)
    if sum(head.count(code) for code in _CONTROL) * 10 > len(head):
        raise Unreadable("The file holds no text.")
    return "utf-8"


def _guessed(head: bytes) -> str:
    found = from_bytes(head)
    best = found.best()
    if best is None:
        raise Unreadable("The file holds no text in an encoding that can be told.")
    # Of those that fit alike the first in the alphabet is the best to it: é and à would be Central European letters.
    alike = {one.encoding for one in found if (one.chaos, one.coherence) == (best.chaos, best.coherence)}
    return WESTERN if WESTERN in alike else best.encoding
