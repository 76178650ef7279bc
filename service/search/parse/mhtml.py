"""Web pages in one file (MHTML, RFC 2557), which Word documents import."""

from __future__ import annotations

import io
from codecs import BOM_UTF8
from collections.abc import Iterator
from contextlib import suppress
from email.message import Message
from email.parser import BytesParser
from typing import BinaryIO

from service.search.parse import html
from service.search.parse.types import TextPiece


def parse(file: BinaryIO) -> Iterator[TextPiece]:
    """Yields the text of the first part that is HTML, which is the page itself."""
    message: Message = BytesParser().parse(file)  # imports Message, which is loaded above, when it may not read files
    for part in message.walk():
        if part.get_content_type() == "text/html":
            data = part.get_payload(decode=True)
            page = data if isinstance(data, bytes) else b""
            with suppress(LookupError, UnicodeDecodeError):  # then the page itself may name its encoding
                page = BOM_UTF8 + page.decode(part.get_content_charset() or "").encode()
            yield from html.parse(io.BytesIO(page))
            return
