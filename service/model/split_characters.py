"""Joins characters that a model server has divided over two pieces of a text.

Tokens of many models hold a part of a character, such as one of the two surrogates of an emoji. Servers send such a
part as an escape of its own ("\\ud83d"), or as bytes that are not valid UTF-8.
"""

from __future__ import annotations

import re

from service.model.errors import to_storable

# The end of a text that may be the first part of a character: a high surrogate, or bytes that `surrogateescape` kept.
_BEGINNING = re.compile("(?:[\ud800-\udbff]|[\udc80-\udcff]{1,3})$")
_BYTES = re.compile("[\udc80-\udcff]+")


class CharacterJoiner:
    """Joins the parts of characters in one text, piece by piece."""

    def __init__(self) -> None:
        self._held = ""

    def feed(self, piece: str) -> str:
        """Returns the piece without the beginning of a character at its end, which is held back."""
        if not self._held and piece.isascii() and "\0" not in piece:
            return piece
        text = self._held + piece if self._held else piece
        self._held = ""
        if text.isascii() or not _has_surrogates(text):
            return to_storable(text)
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
        text = _BYTES.sub(_join_bytes, text)
        beginning = _BEGINNING.search(text)
        if beginning is not None:
            self._held = beginning.group()
            text = text[: beginning.start()]
        return _without_bytes(text)

    def end(self) -> str:
        """Returns the text that was held back, with U+FFFD for the part of a character."""
        held, self._held = self._held, ""
        return _without_bytes(held)


def _has_surrogates(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _join_bytes(found: re.Match[str]) -> str:
    """Returns the characters of these bytes; bytes that are not yet a character stay as they are."""
    data = found.group().encode("utf-8", "surrogateescape")
    return data.decode("utf-8", "surrogateescape")


def _without_bytes(text: str) -> str:
    return to_storable(_BYTES.sub("\ufffd", text))
