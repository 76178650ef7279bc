"""The text of a JSON object that arrives in pieces, each of which is read once. Pure."""

from __future__ import annotations

import re
from typing import Any

import orjson

# An escape, a backslash whose character is in the next piece, a quote, or a bracket.
_MARKS = re.compile(r'\\.|\\\Z|["{}\[\]]', re.DOTALL)


class ObjectPieces:
    """Collects pieces of a text, and knows whether they are an object so far.

    The pieces are searched for the object's end only if `value` is called, each of them once, and the text is parsed at
    most once. `size` is the number of its characters, and `has_text` whether any of them is no white space.
    """

    __slots__ = ("_depth", "_has_end", "_in_string", "_is_escape_cut", "_pieces", "_read", "_value", "has_text", "size")

    def __init__(self) -> None:
        self.size = 0
        self.has_text = False
        self._pieces: list[str] = []
        self._read = 0  # the number of pieces that were searched
        self._depth = 0
        self._in_string = False
        self._is_escape_cut = False
        self._has_end = False
        self._value: dict[str, Any] | None = None

    @property
    def text(self) -> str:
        """All pieces, joined."""
        return "".join(self._pieces)

    def add(self, piece: str) -> None:
        if piece:
            self._pieces.append(piece)
            self.size += len(piece)
            self.has_text = self.has_text or not piece.isspace()

    def value(self) -> dict[str, Any] | None:
        """Returns the object if the pieces so far are exactly one, perhaps with white space around it."""
        while self._read < len(self._pieces):
            piece = self._pieces[self._read]
            self._read += 1
            if not self._has_end:
                self._search(piece)
            elif not piece.isspace():  # text behind the object
                self._value = None
        return self._value

    def _search(self, piece: str) -> None:
        """Searches a piece for the object's end, where the text up to the end of the piece is parsed."""
        at, self._is_escape_cut = int(self._is_escape_cut), False
        for found in _MARKS.finditer(piece, at):
            mark = found.group()
            if mark == '"':
                self._in_string = not self._in_string
            elif mark[0] == "\\":
                self._is_escape_cut = len(mark) == 1
            elif self._in_string:
                continue
            elif mark in "{[":
                self._depth += 1
            else:
                self._depth -= 1
                if self._depth <= 0:
                    self._has_end = True
                    self._value = _parse_object("".join(self._pieces[: self._read]))
                    return


def _parse_object(text: str) -> dict[str, Any] | None:
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None
