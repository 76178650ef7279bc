"""Text in any encoding: code, prose, tables of comma-separated values, JSON."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import BinaryIO

from charset_normalizer import from_bytes

from service.search.parse.types import READ, TextPiece, UnreadableFile

# Bytes that the guess of an encoding reads.
SAMPLE = 65_536
# The most common encoding of text that is not Unicode.
WESTERN = "cp1252"
# Control characters that text does not have. A sample that consists of more than a tenth of them is not text.
_CONTROL = frozenset(range(32)) - {7, 8, 9, 10, 11, 12, 13, 27}
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def parse(file: BinaryIO) -> Iterator[TextPiece]:
    """Yields the decoded text unchanged, including its line ends."""
    encoding = detect_encoding(file)
    file.seek(0)
    decode = codecs.getincrementaldecoder(encoding)(errors="replace").decode
    while data := file.read(READ):
        yield decode(data), None
    yield decode(b"", True), None


def detect_encoding(file: BinaryIO) -> str:
    """Returns the encoding of the byte order mark; or UTF-8 if the whole file is valid UTF-8; or a guess.

    Raises UnreadableFile if the file is not text.
    """
    head = file.read(SAMPLE)
    for mark, encoding in _BYTE_ORDER_MARKS:
        if head.startswith(mark):
            return encoding
    file.seek(0)
    decode = codecs.getincrementaldecoder("utf-8")().decode
    try:
        while data := file.read(READ):
            decode(data)
        decode(b"", True)
    except UnicodeDecodeError:
        return _guess_encoding(head)
    if sum(head.count(code) for code in _CONTROL) * 10 > len(head):
        raise UnreadableFile("The file holds no text.")
    return "utf-8"


def _guess_encoding(head: bytes) -> str:
    matches = from_bytes(head)
    best = matches.best()
    if best is None:
        raise UnreadableFile("The file holds no text in an encoding that can be told.")
    # Among equally good matches, `best` returns the first in alphabetical order: é and à would become letters of
    # Central European languages. So the Western encoding is preferred.
    equal = {each.encoding for each in matches if (each.chaos, each.coherence) == (best.chaos, best.coherence)}
    return WESTERN if WESTERN in equal else best.encoding
