"""JSON as text, with letters in place of their escapes: many programs write only ASCII, so that no word is found."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO

from service.search.parse import text
from service.search.parse.types import TextPiece

# An escaped backslash, which begins no escape of a letter; a pair of surrogates; one character.
_ESCAPE = re.compile(r"\\\\|\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})|\\u([0-9a-fA-F]{4})")
# An escape, or a part of one, at the end of a piece of text.
_OPEN_END = re.compile(r"\\[u0-9a-fA-F\\]{0,10}\Z")
# Characters at the end of a piece that are searched for it.
WINDOW = 64


def parse(file: BinaryIO) -> Iterator[TextPiece]:
    """Yields the decoded text. Escapes of printable characters beyond ASCII become these characters."""
    rest = ""
    for piece, page in text.parse(file):
        whole = rest + piece
        if not piece:
            yield _ESCAPE.sub(_unescape, whole), page
            return
        at = _open_end(whole)
        yield _ESCAPE.sub(_unescape, whole[:at]), page
        rest = whole[at:]


def _open_end(whole: str) -> int:
    """Returns the place of an escape at the end of the text that may go on in the next piece, or the text's length."""
    start = max(0, len(whole) - WINDOW)
    while start and whole[start - 1] == "\\":  # a pair of backslashes is not divided
        start -= 1
    end = max((found.end() for found in _ESCAPE.finditer(whole, start) if not _is_high(found)), default=start)
    found = _OPEN_END.search(whole, end)
    return found.start() if found else len(whole)


def _is_high(found: re.Match[str]) -> bool:
    """Whether the escape is the first half of a pair, whose second half may follow."""
    return found[3] is not None and "\ud800" <= chr(int(found[3], 16)) <= "\udbff"


def _unescape(found: re.Match[str]) -> str:
    high, low, single = found.groups()
    if high:
        character = chr(0x10000 + ((int(high, 16) & 0x3FF) << 10) + (int(low, 16) & 0x3FF))
    elif single:
        character = chr(int(single, 16))
    else:
        return found[0]
    return character if character > "\x7f" and character.isprintable() else found[0]
