"""JSON that is still being written: strings and values taken out of it piece by piece. Pure.

Models write a tool call's arguments as JSON, a few characters at a time, and watchers want to read the code in it while
it is written. A reader here is fed pieces; where they are cut means nothing, which the tests hold as a law.

Models slip: a backslash that begins none of JSON's escapes is one of the text (`\\d` in a regular expression), and
`\\'` is a quote.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum, auto

_ESCAPES = {'"': '"', "'": "'", "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_SPACE = " \t\r\n"
_PLAIN = re.compile(r'[^"\\]+')
# \uXXXX, and what may yet become it.
_UNIT = re.compile(r"\\u([0-9a-fA-F]{4})")
_UNIT_BEGUN = re.compile(r"\\(u[0-9a-fA-F]{0,3})?")
_UNFIT = re.compile("[\x00\ud800-\udfff]")
UNKNOWN = "\ufffd"


@dataclass(slots=True)
class StringPieces:
    """The text of one JSON string, its opening quote not among what is fed. `done` behind the closing one.

    NUL and lone surrogates, which cannot be kept, become U+FFFD.
    """

    done: bool = False
    _held: str = ""

    def feed(self, piece: str) -> tuple[str, str]:
        """(text, what follows the string): the second is empty until `done`."""
        given, said, at = self._held + piece, list[str](), 0
        self._held = ""
        while at < len(given):
            if given[at] == '"':
                self.done = True
                return "".join(said), given[at + 1 :]
            if given[at] != "\\":
                plain = _PLAIN.match(given, at)
                assert plain is not None
                said.append(_UNFIT.sub(UNKNOWN, plain.group()))
                at = plain.end()
                continue
            text, taken = self._escape(given[at : at + 12])
            if not taken:
                self._held = given[at:]
                break
            said.append(text)
            at += taken
        return "".join(said), ""

    def _escape(self, given: str) -> tuple[str, int]:
        """The text of the escape that `given` begins with, and its length; 0 where it is not whole yet."""
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
    """One JSON value as it is written, from its first character on. `done` behind its last."""

    done: bool = False
    _depth: int = 0
    _in_string: bool = False
    _escaped: bool = False
    _scalar: bool = False

    def feed(self, piece: str) -> tuple[str, str]:
        """(text of the value, what follows it): the second is empty until `done`.

        A number or a word ends where a comma, a bracket or a space follows, and that is what follows it.
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


class _Place(Enum):
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
    """The code in a code_interpreter call's arguments, {"code": "…"}, while they are written.

    Some models write the code itself in place of the JSON: arguments that begin with no brace are the code.
    """

    _place: _Place = _Place.START
    _key: list[str] = field(default_factory=list)
    _string: StringPieces = field(default_factory=StringPieces)
    _other: RawValue = field(default_factory=RawValue)

    @property
    def cut(self) -> bool:
        """Whether what was read is a beginning of the code only: its string is open, or ended where no string may."""
        return self._place in (_Place.IN_CODE, _Place.CUT)

    def feed(self, piece: str) -> str:
        """The code that this piece brings."""
        said: list[str] = []
        while piece:
            match self._place:
                case _Place.RAW:
                    said.append(_UNFIT.sub(UNKNOWN, piece))
                    piece = ""
                case _Place.END | _Place.CUT:
                    piece = ""
                case _Place.IN_KEY | _Place.IN_CODE:
                    piece = self._in_string(piece, said)
                case _Place.IN_OTHER:
                    _, piece = self._other.feed(piece)
                    if self._other.done:
                        self._place = _Place.COMMA
                case _:
                    piece = self._between(piece)
        return "".join(said)

    def _in_string(self, piece: str, said: list[str]) -> str:
        text, rest = self._string.feed(piece)
        (said if self._place is _Place.IN_CODE else self._key).append(text)
        if self._string.done:
            self._place = _Place.BEHIND if self._place is _Place.IN_CODE else _Place.COLON
        return rest

    def _between(self, piece: str) -> str:
        """One character of what stands between strings and values. Returns what is to be read next."""
        character = piece[0]
        if character in _SPACE:
            # Before raw code spaces would be lost; models that write code plainly begin with none that matters.
            return piece[1:]
        match self._place, character:
            case _Place.START, "{":
                self._place = _Place.KEY
            case _Place.START, _:
                self._place = _Place.RAW
                return piece
            case _Place.KEY, '"':
                self._place, self._key, self._string = _Place.IN_KEY, [], StringPieces()
            case _Place.COLON, ":":
                self._place = _Place.VALUE
            case _Place.VALUE, '"' if "".join(self._key) == "code":
                self._place, self._string = _Place.IN_CODE, StringPieces()
            case _Place.VALUE, _:
                self._place, self._other = _Place.IN_OTHER, RawValue()
                return piece
            case _Place.COMMA, ",":
                self._place = _Place.KEY
            case _Place.BEHIND, _ if character not in ",}":
                self._place = _Place.CUT
            case _:
                self._place = _Place.END
        return piece[1:]


def code_of(arguments: str) -> str:
    """The code in whole arguments; empty where there is none."""
    return CodeInput().feed(arguments)
