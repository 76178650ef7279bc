"""Parsers for JSON that a model is still writing. They take strings and values out of it piece by piece. Pure.

Models write the arguments of a tool call as JSON, a few characters at a time, and watchers read the code in it at the
same time. Parsers are fed pieces; the positions at which the text is cut do not change the result, which the tests hold
as a law.

Models make mistakes, so a backslash that begins no escape of JSON stands for itself (`\\d` in a regular expression),
and `\\'` is a quote.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum, auto

_ESCAPES = {'"': '"', "'": "'", "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_SPACE = " \t\r\n"
_PLAIN = re.compile(r'[^"\\]+')
# A whole \uXXXX, and the beginning of one.
_UNIT = re.compile(r"\\u([0-9a-fA-F]{4})")
_UNIT_BEGUN = re.compile(r"\\(u[0-9a-fA-F]{0,3})?")
_UNFIT = re.compile("[\x00\ud800-\udfff]")
UNKNOWN = "\ufffd"
_WINDOW = 1024  # characters of a piece that are read at once


@dataclass(slots=True)
class StringPieces:
    """Parses one JSON string after its opening quote. `done` is set at the closing quote.

    NUL and lone surrogates become U+FFFD, since Postgres cannot store them.
    """

    done: bool = False
    _held: str = ""

    def feed(self, piece: str) -> tuple[str, str]:
        """Returns (text, rest): the text that the piece adds, and the rest behind the string once it is `done`."""
        given, texts, at = self._held + piece, list[str](), 0
        self._held = ""
        while at < len(given):
            if given[at] == '"':
                self.done = True
                return "".join(texts), given[at + 1 :]
            if given[at] != "\\":
                plain = _PLAIN.match(given, at)
                assert plain is not None
                texts.append(_UNFIT.sub(UNKNOWN, plain.group()))
                at = plain.end()
                continue
            text, taken = self._escape(given[at : at + 12])
            if not taken:
                self._held = given[at:]
                break
            texts.append(text)
            at += taken
        return "".join(texts), ""

    def _escape(self, given: str) -> tuple[str, int]:
        """Returns the text of the escape at the start of `given`, and its length, or 0 if the escape is incomplete."""
        if _UNIT_BEGUN.fullmatch(given):
            return "", 0
        unit = _UNIT.match(given)
        if unit is None:
            return (_ESCAPES[given[1]], 2) if given[1] in _ESCAPES else ("\\", 1)
        code = int(unit.group(1), 16)
        if not 0xD800 <= code < 0xDC00:
            return (UNKNOWN if code == 0 or 0xDC00 <= code < 0xE000 else chr(code)), 6
        low = given[6:]
        if not low or _UNIT_BEGUN.fullmatch(low):
            return "", 0
        second = _UNIT.match(low)
        if second is None or not 0xDC00 <= (half := int(second.group(1), 16)) < 0xE000:
            return UNKNOWN, 6
        return chr(0x10000 + ((code - 0xD800) << 10) + half - 0xDC00), 12


@dataclass(slots=True)
class RawValue:
    """Takes one JSON value, from its first character, without decoding it. `done` is set behind its last character."""

    done: bool = False
    _depth: int = 0
    _in_string: bool = False
    _escaped: bool = False
    _scalar: bool = False

    def feed(self, piece: str) -> tuple[str, str]:
        """Returns (text, rest): the text of the value, and the rest behind it once it is `done`.

        A number or a word ends at a comma, a bracket or a space, which is the start of the rest.
        """
        for at, character in enumerate(piece):
            if self._in_string:
                if self._escaped:
                    self._escaped = False
                elif character == "\\":
                    self._escaped = True
                elif character == '"':
                    self._in_string = False
                    if not self._depth:
                        return self._end(piece, at + 1)
            elif self._scalar and not self._depth:
                if character in ",]}" + _SPACE:
                    return self._end(piece, at)
            elif character == '"':
                self._in_string = True
            elif character in "{[":
                self._depth += 1
            elif character in "}]":
                self._depth -= 1
                if self._depth <= 0:
                    return self._end(piece, at + 1)
            elif not self._depth and character not in _SPACE:
                self._scalar = True
        return piece, ""

    def _end(self, piece: str, at: int) -> tuple[str, str]:
        self.done = True
        return piece[:at], piece[at:]


class _Position(Enum):
    START = auto()
    KEY = auto()
    IN_KEY = auto()
    COLON = auto()
    VALUE = auto()
    IN_CODE = auto()
    IN_OTHER = auto()
    COMMA = auto()
    BEHIND = auto()
    CUT = auto()
    END = auto()
    RAW = auto()


@dataclass(slots=True)
class CodeInput:
    """Takes the code out of a code_interpreter call's arguments, {"code": "…"}, while they are written.

    Some models write the code instead of JSON, so arguments that do not begin with a brace are taken as code.
    """

    _position: _Position = _Position.START
    _key: list[str] = field(default_factory=list)
    _string: StringPieces = field(default_factory=StringPieces)
    _other: RawValue = field(default_factory=RawValue)

    @property
    def cut(self) -> bool:
        """Whether the code is incomplete: its string is still open, or text follows it that JSON does not allow."""
        return self._position in (_Position.IN_CODE, _Position.CUT)

    def feed(self, piece: str) -> str:
        """Returns the code that the piece adds."""
        texts: list[str] = []
        for at in range(0, len(piece), _WINDOW):
            self._feed(piece[at : at + _WINDOW], texts)
        return "".join(texts)

    def _feed(self, piece: str, texts: list[str]) -> None:
        """Adds the code of a short piece to the texts. Each step copies the rest of the piece."""
        while piece:
            match self._position:
                case _Position.RAW:
                    texts.append(_UNFIT.sub(UNKNOWN, piece))
                    piece = ""
                case _Position.END | _Position.CUT:
                    piece = ""
                case _Position.IN_KEY | _Position.IN_CODE:
                    piece = self._in_string(piece, texts)
                case _Position.IN_OTHER:
                    _, piece = self._other.feed(piece)
                    if self._other.done:
                        self._position = _Position.COMMA
                case _:
                    piece = self._between(piece)

    def _in_string(self, piece: str, texts: list[str]) -> str:
        text, rest = self._string.feed(piece)
        (texts if self._position is _Position.IN_CODE else self._key).append(text)
        if self._string.done:
            self._position = _Position.BEHIND if self._position is _Position.IN_CODE else _Position.COLON
        return rest

    def _between(self, piece: str) -> str:
        """Reads one character between strings and values. Returns the text to read next."""
        character = piece[0]
        if character in _SPACE:
            # Spaces before raw code are dropped. Models that write raw code do not begin it with an indent.
            return piece[1:]
        match self._position, character:
            case _Position.START, "{":
                self._position = _Position.KEY
            case _Position.START, _:
                self._position = _Position.RAW
                return piece
            case _Position.KEY, '"':
                self._position, self._key, self._string = _Position.IN_KEY, [], StringPieces()
            case _Position.COLON, ":":
                self._position = _Position.VALUE
            case _Position.VALUE, '"' if "".join(self._key) == "code":
                self._position, self._string = _Position.IN_CODE, StringPieces()
            case _Position.VALUE, _:
                self._position, self._other = _Position.IN_OTHER, RawValue()
                return piece
            case _Position.COMMA, ",":
                self._position = _Position.KEY
            case _Position.BEHIND, _ if character not in ",}":
                self._position = _Position.CUT
            case _:
                self._position = _Position.END
        return piece[1:]


def code_of(arguments: str) -> str:
    """Returns the code in complete arguments, or an empty text if they have none."""
    return CodeInput().feed(arguments)
