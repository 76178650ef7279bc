"""Word documents of the versions up to 2003, by legacy-doc."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import legacy_doc

from service.search.parse.types import TextPiece, UnreadableFile

# Bytes of a file, bytes of its text, sectors of one stream.
MAX_DOC, MAX_DOC_TEXT, MAX_DOC_SECTORS = 128 * 1024 * 1024, 64 * 1024 * 1024, 262_144


def parse(file: BinaryIO) -> Iterator[TextPiece]:
    """Yields the text of a document of Word 97 to 2003 as one piece."""
    options = legacy_doc.ExtractionOptions(MAX_DOC, MAX_DOC_TEXT, MAX_DOC_SECTORS)
    data = file.read(MAX_DOC + 1)
    if len(data) > MAX_DOC:
        raise UnreadableFile(f"A .doc file may have {MAX_DOC // 1024 // 1024} MiB at most.")
    try:
        yield legacy_doc.extract_text(data, options=options).text + "\n", None
    except legacy_doc.LegacyDocError as error:
        if "no text" in str(error):
            return
        raise UnreadableFile(f"The Word document cannot be read: {error}.") from None
