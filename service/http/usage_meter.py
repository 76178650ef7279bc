"""What is learnt of an answer while it is passed through, without holding it up: the tokens it used, and its bytes.

Usage is in the answer's own JSON, or in the last chunk of a stream that was asked to tell it. A stream that tells none
is counted by its chunks, of which each has about one token, and a request by its length.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import orjson

from service.idempotency import MAX_CONTENT

# Bytes of an answer's end in which its usage is looked for, where it is too long to be kept whole.
TAIL = 16 * 1024
MAX_PARSED = 1024 * 1024
BYTES_PER_TOKEN = 4
_USAGE = re.compile(r'"usage"\s*:\s*(?=\{)')


class Heard:
    """Takes an answer's chunks as they come; `asked` is the length of the request in bytes."""

    def __init__(self, asked: int, *, streams: bool, keeps: bool) -> None:
        self._asked = asked
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
    def whole(self) -> bytes | None:
        """All of it, where it was to be kept; None where it was too long."""
        return bytes(self._whole) if self._keeps and self._whole is not None else None

    @property
    def tokens(self) -> int:
        """What it used, as it says or by estimate."""
        usage = self._usage()
        if usage is not None:
            return usage
        return self._asked // BYTES_PER_TOKEN + self._chunks

    def _usage(self) -> int | None:
        if not self._streams and self._whole is not None:
            try:
                answer = orjson.loads(bytes(self._whole))
            except orjson.JSONDecodeError:
                return None
            return _total(answer.get("usage")) if isinstance(answer, dict) else None
        # The last one that is an object: inside a text the quotation marks would be escaped.
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
