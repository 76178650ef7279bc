"""The arguments of function calls as clients get them: always the text of a JSON object. Pure.

The original never gave anything else. Other model servers leave the arguments out, send null or an empty text, encode
the object twice, write Python instead of JSON, or stop within the object.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from service.partial_json import RawValue

EMPTY = "{}"
MAX_REPAIR = 100_000  # characters of arguments that are no object; longer ones become an empty object
MAX_LITERAL = 20_000  # characters of arguments that are tried as Python
MAX_DEPTH = 3  # of objects encoded as texts
_FENCE = re.compile(r"^```\w*\s*|(?<!\s)\s*```$")  # searched in linear time, also between long runs of white space
_TRAILING_COMMA = re.compile(r",\s*([}\]])")
# Texts that may complete a value that was cut off, before the brackets that are open.
_ENDS = ("", '"', "null", ":null", '":null', "0", "e", "ue", "rue", "se", "lse", "alse", "l", "ll", "ull")
# Quotes, escapes and control characters, of which the latter two may be invalid in a string.
_IN_STRINGS = re.compile(r'\\.|"|[\x00-\x1f]', re.DOTALL)
_VALID_ESCAPES = frozenset('"\\/bfnrtu')
_CUT_ESCAPE = re.compile(r"\\(?:u[0-9a-fA-F]{0,3})?$")


@dataclass(slots=True)
class StringMender:
    """Makes the strings in a JSON text valid, piece by piece.

    Models write line breaks and other control characters into strings, and backslashes that begin no escape.
    """

    _in_string: bool = False
    _held: str = ""  # a backslash at the end of the last piece

    def feed(self, piece: str) -> str:
        """Returns the piece, whose strings are valid."""
        text, self._held = self._held + piece, ""
        if (len(text) - len(text.rstrip("\\"))) % 2:
            text, self._held = text[:-1], "\\"
        return _IN_STRINGS.sub(self._mend, text)

    def end(self) -> str:
        """Returns the rest."""
        held, self._held = self._held, ""
        return held

    def _mend(self, found: re.Match[str]) -> str:
        text = found.group()
        if text == '"':
            self._in_string = not self._in_string
            return text
        if not self._in_string:
            return text
        if text[0] != "\\":
            return json.dumps(text)[1:-1]
        if text[1] in _VALID_ESCAPES:
            return text
        return "'" if text[1] == "'" else "\\\\" + json.dumps(text[1], ensure_ascii=False)[1:-1]


@dataclass(slots=True)
class ArgumentPieces:
    """Returns the pieces of a function's arguments that watchers may see while they are being written.

    Arguments that do not begin as an object with a field are held back: the step's end shows what became of them.
    """

    _held: list[str] = field(default_factory=list)  # the opening brace and white space behind it
    _is_object: bool | None = None  # None as long as nothing but these has come
    _value: RawValue = field(default_factory=RawValue)
    _strings: StringMender = field(default_factory=StringMender)

    def feed(self, piece: str) -> str:
        """Returns the part of the object that this piece shows."""
        if self._is_object is None:
            piece = self._begin(piece)
        if not self._is_object or self._value.done:
            return ""
        text, _ = self._value.feed(self._strings.feed(piece))
        return text

    def _begin(self, piece: str) -> str:
        """Reads the beginning, up to the quote of the first field. Returns the object so far, once there is one."""
        if not self._held:
            piece = piece.lstrip()
        if not piece:
            return ""
        rest = piece[1:] if not self._held and piece[0] == "{" else piece
        is_brace_missing = not self._held and rest is piece
        self._held.append(piece)
        rest = rest.lstrip()
        if not rest and not is_brace_missing:
            return ""
        self._is_object = not is_brace_missing and rest[0] == '"'
        held, self._held = self._held, []
        return "".join(held)


def object_text(arguments: str, depth: int = 0) -> str:
    """Returns the arguments if they are a JSON object, otherwise the object that they mean, or an empty object."""
    text = _FENCE.sub("", arguments.strip())
    for candidate in _candidates(text):
        try:
            value = json.loads(candidate, strict=False, parse_constant=lambda _: None)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, str) and depth < MAX_DEPTH:
            return object_text(value, depth + 1)
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        if not isinstance(value, dict):
            return EMPTY
        return candidate if _is_strict(candidate) else json.dumps(value, ensure_ascii=False)
    return _python_object(text)


def _candidates(text: str) -> Iterator[str]:
    """Yields texts that may be the JSON that the arguments mean."""
    mender = StringMender()
    yield mender.feed(text) + mender.end()
    yield text
    if len(text) > MAX_REPAIR:
        return
    yield from _objects(text)
    brackets = _open_brackets(text)
    yield from (text + end + brackets for end in _ENDS)
    yield _CUT_ESCAPE.sub("", text) + '"' + brackets
    yield _TRAILING_COMMA.sub(r"\1", text + brackets)


def _objects(text: str) -> list[str]:
    """Returns the objects that the text consists of, if it is more than one, with empty ones last."""
    found: list[str] = []
    rest = text[text.find("{") :] if "{" in text else ""
    while rest.startswith("{") and len(found) < MAX_DEPTH:
        value = RawValue()
        taken, rest = value.feed(rest)
        if not value.done:
            break
        found.append(taken)
        rest = rest.lstrip()
    return sorted(found, key=lambda each: each.strip("{} \n\t\r") == "")


def _open_brackets(text: str) -> str:
    """Returns the brackets that close those that are open at the end of the text."""
    brackets: list[str] = []
    in_string = is_escape = False
    for character in text:
        if in_string:
            if is_escape:
                is_escape = False
            elif character == "\\":
                is_escape = True
            elif character == '"':
                in_string = False
        elif character == '"':
            in_string = True
        elif character in "{[":
            brackets.append("}" if character == "{" else "]")
        elif character in "}]" and brackets:
            brackets.pop()
    return "".join(reversed(brackets))


def _is_strict(text: str) -> bool:
    """Whether every JSON parser accepts the text as an object."""
    try:
        return isinstance(json.loads(text, parse_constant=_refuse), dict)
    except (ValueError, RecursionError):
        return False


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


def _python_object(text: str) -> str:
    """Returns the object that a Python literal means, or an empty object."""
    if not text.startswith("{") or len(text) > MAX_LITERAL:
        return EMPTY
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about escapes such as \d, which models write
            value = ast.literal_eval(text)
        return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else EMPTY
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return EMPTY
