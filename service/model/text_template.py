"""Reads the text of a chunk that equals an earlier chunk of its stream in all bytes but its text. Pure.

Nearly all chunks of a stream differ from each other only in their piece of text. For these, two comparisons of bytes
replace parsing the whole chunk, which would be done for every token.
"""

from __future__ import annotations

import orjson

from service.model.stream_chunks import only_text

# Chunks of a stream from which the template is learned. A server may send chunks that differ in more than their text.
MAX_LEARNED = 3
_NAME = b'"content":'
_MARK = "\x00mark"


class TextTemplate:
    """The bytes of a chunk before and after its text, once they are learned.

    `model` is the model of the chunk from which they were learned, "" if it names none.
    """

    def __init__(self) -> None:
        self.model = ""
        self._start = b""
        self._end = b""
        self._learned = 0

    def text_of(self, data: bytes) -> str | None:
        """Returns the text of the chunk, None if the chunk does not fit the template."""
        start, end = self._start, self._end
        if not start or not data.startswith(start) or not data.endswith(end):
            return None
        try:
            text = orjson.loads(data[len(start) : len(data) - len(end)])
        except orjson.JSONDecodeError:
            return None
        return text if type(text) is str else None

    def learn(self, data: bytes, text: str, model: str) -> None:
        """Learns from a chunk of `model` that has only a text (see `only_text`), unless its place is not certain."""
        if self._learned == MAX_LEARNED:
            return
        self._learned += 1
        try:
            value = orjson.dumps(text)
        except orjson.JSONEncodeError:  # a part of a character
            return
        at = data.find(_NAME)
        at = data.find(value, at + len(_NAME)) if at >= 0 else -1
        if at < 0:
            return
        start, end = data[:at], data[at + len(value) :]
        try:
            is_certain = only_text(orjson.loads(start + orjson.dumps(_MARK) + end)) == _MARK
        except orjson.JSONDecodeError:
            return
        if is_certain:
            self._start, self._end, self.model = start, end, model
