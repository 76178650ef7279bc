"""PDF documents, page by page, by PDFium."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import pypdfium2 as pdfium

from service.search.parse.types import TextPiece, UnreadableFile

MAX_PAGES = 50_000


def parse(file: BinaryIO) -> Iterator[TextPiece]:
    """Yields the text of each page that has text, with the page's number from 1."""
    try:
        document = pdfium.PdfDocument(file)
    except pdfium.PdfiumError as error:
        raise UnreadableFile(
            "The PDF is protected by a password." if "assword" in str(error) else "The PDF is damaged."
        ) from None
    if len(document) > MAX_PAGES:
        raise UnreadableFile(f"The PDF has more than {MAX_PAGES} pages.")
    for number in range(len(document)):
        page = document[number]
        textpage = page.get_textpage()
        # PDFium marks a hyphen at the end of a line as U+FFFE.
        text = textpage.get_text_range().replace("\r\n", "\n").replace("\ufffe", "")
        textpage.close()
        page.close()
        if text.strip():
            yield text + "\n\n", number + 1
