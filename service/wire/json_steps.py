"""Parses a large JSON text in steps, each of which keeps the interpreter for a few milliseconds. Pure.

orjson parses a text in one step: 100 ms for 16 MB of short texts that are not ASCII, in which no other thread runs.
Here, neighbours of at most STEP bytes together are parsed in one step. Containers that are longer are divided at their
commas, and texts that are longer between two characters.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from events.errors import Rejection

# Bytes that are parsed in one step, and bytes whose structure is read in one step.
STEP = 256 * 1024
_PIECE = 64 * 1024
# Bytes of the key of a value that is longer than STEP. All properties of a function have 128 KiB, with escapes thrice.
MAX_KEY = 512 * 1024
# Levels of containers that are longer than STEP. orjson itself reads 1,024 levels.
MAX_LONG_LEVELS = 200
MAX_LEVELS = 1_024
# Characters of a text longer than STEP that is not ASCII. It may take four bytes of memory for each character.
MAX_LONG_TEXT = 4_000_000

_STRUCTURE = re.compile(rb"[][{},]")
_KEY = re.compile(rb'[ \t\r\n]*("(?:[^"\\]++|\\.)*+")[ \t\r\n]*:', re.DOTALL)
_SPACE = b" \t\r\n"
_CLOSING = {b"[": b"]", b"{": b"}"}
# The escape of a high surrogate, which makes one character with the escape after it.
_HIGH_SURROGATE = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}")

ParsePart = Callable[[bytes], Any]


@dataclass(slots=True)
class _Container:
    """A container that begins at `start` and ends before `end`, with the places of its own commas.

    `containers` are those of its values that are longer than STEP.
    """

    kind: bytes
    start: int
    end: int = 0
    commas: list[int] = field(default_factory=list)
    containers: list[_Container] = field(default_factory=list)


def parse_in_steps(raw: bytes, parse_part: ParsePart) -> Any:
    """Returns the value of a JSON text, whose parts `parse_part` parses.

    Raises json.JSONDecodeError, without a position, if it is not JSON or nested too deeply, and Rejection for a text
    that is too long.
    """
    root = _find_long_containers(raw)
    return _Reader(raw, parse_part).read_value(0, len(raw), root, 0)


def _not_json(message: str) -> json.JSONDecodeError:
    return json.JSONDecodeError(message, "", 0)


def _find_long_containers(raw: bytes) -> _Container | None:
    """Returns the outermost container, with all within it that are longer than STEP; None if it is shorter itself."""
    root: _Container | None = None
    path: list[_Container] = []
    for at, byte in _structure(raw):
        if byte == b",":
            if path:
                path[-1].commas.append(at)
            continue
        if byte in _CLOSING:
            path.append(_Container(byte, at))
            if len(path) > MAX_LEVELS:
                raise _not_json("nested too deeply")
            continue
        if not path or _CLOSING[path[-1].kind] != byte:
            raise _not_json("unexpected character")
        found = path.pop()
        found.end = at + 1
        if found.end - found.start > STEP:
            if path:
                path[-1].containers.append(found)
            elif root is not None:
                raise _not_json("unexpected content after document")
            else:
                root = found
    if path:
        raise _not_json("unexpected end of data")
    return root


def _structure(raw: bytes) -> Iterator[tuple[int, bytes]]:
    """Yields the place and the byte of every bracket and comma outside strings."""
    at, is_in_string = 0, False
    while at < len(raw):
        piece = raw[at : at + _PIECE]
        if b"\\" in piece:
            if (len(piece) - len(piece.rstrip(b"\\"))) % 2 and at + len(piece) < len(raw):
                piece = piece[:-1]
            piece = piece.replace(b"\\\\", b"__").replace(b'\\"', b"__")
        segments = piece.split(b'"')
        # The texts of strings become as many other bytes.
        segments[not is_in_string :: 2] = [b"_" * len(text) for text in segments[not is_in_string :: 2]]
        for found in _STRUCTURE.finditer(b'"'.join(segments)):
            yield at + found.start(), found[0]
        is_in_string ^= len(segments) % 2 == 0
        at += len(piece)
    if is_in_string:
        raise _not_json("unexpected end of data")


class _Reader:
    def __init__(self, raw: bytes, parse_part: ParsePart) -> None:
        self._raw = raw
        self._parse_part = parse_part

    def read_value(self, start: int, end: int, container: _Container | None, level: int) -> Any:
        """Returns the value between the places. `container` is the value if that is a container longer than STEP."""
        if container is not None:
            self._require_space(start, container.start)
            self._require_space(container.end, end)
            return self._read_container(container, level + 1)
        value = self._raw[start:end].strip(_SPACE)
        if len(value) <= STEP:
            return self._parse_part(value)
        if value[:1] != b'"' or value[-1:] != b'"':
            raise _not_json("a number is too long")
        return _read_text(value)

    def _read_container(self, container: _Container, level: int) -> Any:
        if level > MAX_LONG_LEVELS:
            raise _not_json("nested too deeply")
        is_object = container.kind == b"{"
        found: Any = {} if is_object else []
        if not container.commas and not self._raw[container.start + 1 : container.end - 1].strip(_SPACE):
            return found
        longer = iter(container.containers)
        inner = next(longer, None)
        group: int | None = None
        for start, stop in _spans(container):
            is_long = stop - start > STEP
            if group is not None and (is_long or stop - group > STEP):
                self._read_group(found, group, start - 1)
                group = None
            if not is_long:
                group = start if group is None else group
            elif inner is not None and inner.start < stop:
                self._read_long(found, start, stop, inner, level)
                inner = next(longer, None)
            else:
                self._read_long(found, start, stop, None, level)
        if group is not None:
            self._read_group(found, group, container.end - 1)
        return found

    def _read_long(self, found: Any, start: int, stop: int, container: _Container | None, level: int) -> None:
        """Adds the value or pair between the places, which is longer than STEP, to the list or object."""
        if not isinstance(found, dict):
            found.append(self.read_value(start, stop, container, level))
            return
        key, start = self._read_key(start, stop)
        found[key] = self.read_value(start, stop, container, level)

    def _read_group(self, found: Any, start: int, stop: int) -> None:
        """Adds the neighbours between the places to the list or object."""
        part = self._raw[start:stop]
        if not part.strip(_SPACE):
            raise _not_json("unexpected character")
        if isinstance(found, dict):
            found.update(self._parse_part(b"{%b}" % part))
        else:
            found.extend(self._parse_part(b"[%b]" % part))

    def _read_key(self, start: int, stop: int) -> tuple[str, int]:
        """Returns the key at the place, and the place after its colon."""
        matched = _KEY.match(self._raw, start, min(stop, start + MAX_KEY))
        if matched is None:
            raise _not_json("a key is missing or too long")
        return orjson.loads(matched[1]), matched.end()

    def _require_space(self, start: int, end: int) -> None:
        if self._raw[start:end].strip(_SPACE):
            raise _not_json("unexpected character")


def _spans(container: _Container) -> Iterator[tuple[int, int]]:
    """Yields the places between which each value of a list, or each pair of an object, stands."""
    start = container.start + 1
    for comma in container.commas:
        yield start, comma
        start = comma + 1
    yield start, container.end - 1


def _read_text(quoted: bytes) -> str:
    """Returns the text of a JSON string."""
    parts, length, at, end = list[str](), 0, 1, len(quoted) - 1
    while at < end:
        stop = end if end - at <= STEP else _find_cut(quoted, at, at + STEP)
        parts.append(orjson.loads(b'"%b"' % quoted[at:stop]))
        length += len(parts[-1])
        at = stop
    if length > MAX_LONG_TEXT and not all(part.isascii() for part in parts):
        message = (
            f"A text in the request body is too long: it has {length} characters. A text that is not ASCII can have"
            f" {MAX_LONG_TEXT}."
        )
        raise Rejection(message, code="string_above_max_length")
    return "".join(parts)


def _find_cut(quoted: bytes, begin: int, at: int) -> int:
    """Returns the last place between two characters that is not after `at`; `begin` is such a place before it.

    A character has up to four bytes of UTF-8, or is an escape of two, six or (a pair of surrogates) twelve bytes.
    """
    for _ in range(3):
        if quoted[at] & 0b1100_0000 == 0b1000_0000:
            at -= 1
    for start in range(at - 1, at - 6, -1):
        if _begins_escape(quoted, begin, start):
            length = 6 if quoted[start + 1 : start + 2] == b"u" else 2
            at = start if start + length > at else at
            break
    start = at - 6
    is_high = start >= begin and _HIGH_SURROGATE.fullmatch(quoted[start:at]) is not None
    return start if is_high and _begins_escape(quoted, begin, start) else at


def _begins_escape(quoted: bytes, begin: int, at: int) -> bool:
    """Returns whether the byte at the place begins an escape: a backslash after an even number of backslashes."""
    if quoted[at] != ord("\\"):
        return False
    before = quoted[begin:at]
    return (len(before) - len(before.rstrip(b"\\"))) % 2 == 0
