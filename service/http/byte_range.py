"""The header Range of a request for bytes (RFC 9110, section 14)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from aiohttp import hdrs, web

from service.http.errors import ApiError

# Digits of a position; a longer number is no valid one here.
MAX_DIGITS = 18
_RANGE = re.compile(rf"(?i:bytes)=[ \t]*([0-9]{{0,{MAX_DIGITS}}})-([0-9]{{0,{MAX_DIGITS}}})[ \t]*")


@dataclass(frozen=True, slots=True)
class ByteRange:
    """The bytes from `start` up to `stop`, without the one at `stop`. It has at least one byte, unless it is all of an
    empty file.
    """

    start: int
    stop: int

    def content_range(self, size: int) -> str:
        """Returns the header Content-Range of an answer with this part of `size` bytes."""
        return f"bytes {self.start}-{self.stop - 1}/{size}"


def parse_range(request: web.Request, size: int) -> ByteRange | None:
    """Returns the part of `size` bytes that the request asks for; None if it asks for all of them.

    A header with several ranges or of another form is ignored, as RFC 9110 allows, and one with If-Range too, since
    answers have no validators. Raises ApiError 416 if the range has none of the bytes.
    """
    found = _RANGE.fullmatch(request.headers.get(hdrs.RANGE, ""))
    if found is None or request.method != hdrs.METH_GET or hdrs.IF_RANGE in request.headers:
        return None
    first, last = found.groups()
    if not first and not last:
        return None
    if not first:
        start, stop = max(0, size - int(last)), size
    elif last and int(last) < int(first):
        return None
    else:
        start, stop = int(first), min(size, int(last) + 1) if last else size
    if start >= stop:
        message = f"The header Range asks for bytes that the file does not have: it has {size} bytes."
        raise ApiError(416, message, headers={hdrs.CONTENT_RANGE: f"bytes */{size}"})
    return ByteRange(start, stop)
