"""Divides the bytes of a streamed answer into the events of the stream: pure, without parsing their JSON.

A stream consists of lines that end with LF, CR or CRLF; an event of the stream is its `data:` lines up to a blank line.
The division of the bytes into reads has no effect on the events. Servers differ, and these variants are known too: a
byte order mark before a line, no blank lines between events, lines of JSON without `data:`, and errors as `error:`
lines.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import orjson

from service.model.errors import AnswerTooLarge
from service.model.stream_chunks import MAX_ITEMS

MAX_EVENT_BYTES = 16 * 1024 * 1024  # of one event of the stream, or of a JSON document in place of a stream
MARK = b"\xef\xbb\xbf"
DONE = b"[DONE]"
_OBJECT = b"data: {"
_MARKS = re.compile(rb"(?:\xef\xbb\xbf)+")
_LINE_END = re.compile(rb"\r\n|\n|\r")
_ENDS = frozenset({b"[done]", b"done"})
# Events without content. Proxies send words to keep a connection open.
_EMPTY = frozenset({b"", b"null", b"ping", b"[ping]", b"keep-alive", b"keepalive", b"heartbeat"})
_PREFIX = re.compile(r"[\s,]*(?:data:\s*)*")  # between the documents of one event
_END = re.compile(r"\[DONE\]", re.IGNORECASE)
_DECODER = json.JSONDecoder(strict=False)


@dataclass(slots=True)
class StreamItem:
    """An event of the stream. `is_error` says that the server marked it as an error.

    It is not frozen, so that it is constructed quickly: there is one for each token.
    """

    data: bytes
    is_error: bool = False


class LineReader:
    """Reads lines and returns events."""

    def __init__(self) -> None:
        self._other_lines: list[bytes] = []
        self._rest: list[bytes] = []
        self._rest_size = 0
        self._skips_newline = False
        self._data: list[bytes] = []
        self._data_size = 0
        self._is_error_event = False
        self._is_incomplete = False  # the data are known to be incomplete
        self._has_events = False

    @property
    def other_text(self) -> bytes:
        """The lines before the first event that belong to no event, such as those of a page or a document."""
        return b"\n".join(self._other_lines)

    def feed(self, data: bytes) -> list[StreamItem]:
        """Returns the events that these bytes complete. Raises AnswerTooLarge."""
        items: list[StreamItem] = []
        lines = self._lines(data)
        at, count = 0, len(lines)
        while at < count:
            line = lines[at]
            at += 1
            if (
                line.startswith(_OBJECT)
                and (at < count and not lines[at])
                and not (self._data or self._is_error_event)
                and self._rest_size + len(line) <= MAX_EVENT_BYTES
            ):  # nearly all events: one line and the blank line after it, which are read here without further calls
                at += 1
                self._has_events = True
                items.append(StreamItem(line[len(_OBJECT) - 1 :].rstrip()))
            else:
                self._read_line(line, items)
        self._check_size()
        return items

    def end(self) -> list[StreamItem]:
        """Returns the last events. Some servers omit the last newlines."""
        items: list[StreamItem] = []
        self._read_line(b"".join(self._rest), items)
        self._rest = []
        self._flush(items)
        return items

    def _lines(self, data: bytes) -> list[bytes]:
        """Returns the lines that these bytes complete, and keeps the rest."""
        if self._skips_newline and data:
            data = data.removeprefix(b"\n")
            self._skips_newline = False
        has_returns = b"\r" in data
        if not has_returns and b"\n" not in data:
            if data:
                self._rest.append(data)
                self._rest_size += len(data)
            return []
        self._skips_newline = data.endswith(b"\r")
        whole = b"".join((*self._rest, data))
        lines = _LINE_END.split(whole) if has_returns else whole.split(b"\n")
        last = lines.pop()
        self._rest, self._rest_size = [last], len(last)
        return lines

    def _check_size(self) -> None:
        if self._rest_size + self._data_size > MAX_EVENT_BYTES:
            raise AnswerTooLarge(f"The model server sent an event of more than {MAX_EVENT_BYTES} bytes.")

    def _read_line(self, line: bytes, items: list[StreamItem]) -> None:
        if line.startswith(b"data:"):
            if self._data:
                self._flush_complete(items)
            self._data.append(line[5:])
            self._is_incomplete = False
            self._data_size += len(line)
            self._check_size()
        elif not line:
            self._flush(items)
        elif line.startswith(MARK):
            self._read_line(_MARKS.sub(b"", line, count=1), items)
        elif line.startswith(b"event:"):
            self._flush_complete(items)
            self._is_error_event = line[6:].strip() == b"error"
        elif line.startswith(b"error:"):
            self._flush(items)
            self._emit(StreamItem(line[6:].strip(), is_error=True), items)
        elif line.startswith(b"{") and not self._other_lines and not self._data and _is_complete(line):
            self._emit(StreamItem(line.strip()), items)
        elif line[:6].lstrip()[:2].lower() == b"da" and line.lstrip()[:5].lower() == b"data:":
            self._read_line(b"data:" + line.lstrip()[5:], items)
        elif not line.startswith((b":", b"id:", b"retry:")) and not self._has_events:
            # The SSE specification says to ignore unknown fields.
            self._other_lines.append(line)
            self._data_size += len(line)

    def _flush_complete(self, items: list[StreamItem]) -> None:
        """Ends the event before this line if it is complete, although no blank line ended it."""
        if len(self._data) != 1 or self._is_incomplete:
            return
        self._is_incomplete = not _is_complete(self._data[0])
        if not self._is_incomplete:
            self._flush(items)

    def _flush(self, items: list[StreamItem]) -> None:
        if self._data:
            data = (self._data[0] if len(self._data) == 1 else b"\n".join(self._data)).strip()
            self._data = []
            self._data_size = 0
            if data not in _EMPTY:
                self._emit(StreamItem(data, self._is_error_event), items)
        self._is_error_event = False

    def _emit(self, item: StreamItem, items: list[StreamItem]) -> None:
        self._has_events = True
        items.append(item)


def is_end(data: bytes) -> bool:
    """Whether the data of an event are the mark of the stream's end, which some servers quote or write small."""
    return len(data) <= len(DONE) + 2 and data.strip(b"'\"").lower() in _ENDS


def divide(data: bytes) -> list[bytes]:
    """Returns the documents of an event that is not one document, up to the first mark of the stream's end.

    Proxies join several documents in one event, and put `data:` before each of them once more. Returns no documents if
    the data are not JSON, or are more than MAX_ITEMS documents.
    """
    text = data.decode(errors="surrogateescape")
    found: list[bytes] = []
    at, is_ended = _end_of(_PREFIX, text, 0), False
    while at < len(text) and not is_ended:
        end = _end_of(_END, text, at)
        is_ended = end > at
        if not is_ended:
            try:
                _, end = _DECODER.raw_decode(text, at)
            except (ValueError, RecursionError):
                return []
        if len(found) == MAX_ITEMS:
            return []
        found.append(text[at:end].encode(errors="surrogateescape"))
        at = _end_of(_PREFIX, text, end)
    return found


def _end_of(pattern: re.Pattern[str], text: str, at: int) -> int:
    """Returns the end of the pattern at this place, or the place itself."""
    found = pattern.match(text, at)
    return at if found is None else found.end()


def _is_complete(data: bytes) -> bool:
    """Whether the data of an event are complete: a JSON object or the end of the stream."""
    stripped = data.strip()
    if is_end(stripped):
        return True
    if not stripped.startswith(b"{") or not stripped.endswith(b"}"):
        return False
    try:
        orjson.loads(stripped)
    except orjson.JSONDecodeError:
        return False
    return True
