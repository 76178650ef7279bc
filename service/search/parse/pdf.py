"""PDF, page by page, by PDFium."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import pypdfium2 as pdfium

from service.search.parse.types import Piece, Unreadable

MAX_PAGES = 50_000


def parse(file: BinaryIO) -> Iterator[Piece]:
    """The text of each page, with its number from 1."""
    try:
        document = pdfium.PdfDocument(file)
    except pdfium.PdfiumError as error:
        raise Unreadable(
            "The PDF is protected by a password." if "assword" in str(error) else "The PDF is damaged."
        ) from None
    if len(document) > MAX_PAGES:
        raise Unreadable(f"The PDF has more than {MAX_PAGES} pages.")
    for number in range(len(document)):
        page = document[number]
        text = page.get_textpage()
        found = text.get_text_range().replace("\r\n", "\n").replace("\ufffe", "")  # U+FFFE: a hyphen at a line's end
        text.close()
        page.close()
        if found.strip():
            yield found + "\n\n", number + 1
