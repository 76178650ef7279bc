"""The meter of an answer that is passed through: it counts tokens and keeps bytes without holding the answer up.

The usage is in the answer's own JSON, or in the last chunk of a stream if the request asked for it. A stream without
usage is counted by its chunks, of which each has about one token, and its request by its length.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import orjson

from service.idempotency.keys import MAX_CONTENT

# Bytes at the end of an answer that are searched for its usage, if the answer is too long to be kept.
TAIL = 16 * 1024
MAX_PARSED = 1024 * 1024
BYTES_PER_TOKEN = 4
_USAGE = re.compile(r'"usage"\s*:\s*(?=\{)')


class UsageMeter:
    """Takes the chunks of an answer as they come.

    `request_length` is in bytes. `keeps`: the whole answer is wanted afterwards, if it is not too long.
    """

    def __init__(self, request_length: int, *, streams: bool, keeps: bool) -> None:
        self._request_length = request_length
        self._streams = streams
        self._keeps = keeps
        self._most = MAX_CONTENT if keeps else 0 if streams else MAX_PARSED
        self._whole: bytearray | None = bytearray()
        self._tail = b""
        self._chunks = 0

    def take(self, chunk: bytes) -> None:
        if self._whole is not None:
            self._whole += chunk
            if len(self._whole) > self._most:
                self._whole = None
        self._tail = (self._tail + chunk)[-TAIL:]
        if self._streams:
            self._chunks += chunk.count(b"data:")

    @property
    def content(self) -> bytes | None:
        """The whole answer; None if it was not to be kept, or is too long."""
        return bytes(self._whole) if self._keeps and self._whole is not None else None

    @property
    def tokens(self) -> int:
        """The tokens that the answer reports, or an estimate."""
        usage = self._usage()
        if usage is not None:
            return usage
        return self._request_length // BYTES_PER_TOKEN + self._chunks

    def _usage(self) -> int | None:
        if not self._streams and self._whole is not None:
            try:
                answer = orjson.loads(bytes(self._whole))
            except orjson.JSONDecodeError:
                return None
            return _total(answer.get("usage")) if isinstance(answer, dict) else None
        # The last match that is an object. Inside a text the quotation marks would be escaped.
        text = self._tail.decode(errors="replace")
        for match in reversed(list(_USAGE.finditer(text))):
            try:
                found, _ = json.JSONDecoder().raw_decode(text, match.end())
            except ValueError:
                continue
            total = _total(found)
            if total is not None:
                return total
        return None


def _total(usage: Any) -> int | None:
    if not isinstance(usage, Mapping):
        return None
    total = usage.get("total_tokens")
    return total if isinstance(total, int) and not isinstance(total, bool) and 0 <= total < 2**53 else None
