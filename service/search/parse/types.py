"""The file formats that can be parsed. As in the API, the name's ending determines the format."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import BinaryIO, Literal

FileFormat = Literal["text", "json_text", "html", "pdf", "docx", "pptx", "xlsx", "doc"]

# A piece of text, in order, with its page if the file has pages. Each format has a module with a function `parse`; the
# module imports everything at its top, because the worker may not be able to read files later.
TextPiece = tuple[str, int | None]
ParseFunction = Callable[[BinaryIO], Iterator[TextPiece]]
READ = 1024 * 1024

_TEXT = (".c", ".cpp", ".cs", ".css", ".csv", ".go", ".java", ".js", ".md", ".php", ".py", ".rb", ".sh")
FORMATS: dict[str, FileFormat] = {
    **dict.fromkeys((*_TEXT, ".tex", ".ts", ".txt"), "text"),
    ".json": "json_text",
    ".html": "html",
    ".htm": "html",
    ".pdf": "pdf",
    ".docx": "docx",
    ".pptx": "pptx",
    ".xlsx": "xlsx",
    ".doc": "doc",
}
# The first bytes of a file of each format of Office. If a file begins otherwise, its bytes choose the parser
# (`office_content`).
MAGIC: dict[FileFormat, tuple[bytes, ...]] = {
    "docx": (b"PK\x03\x04",),
    "pptx": (b"PK\x03\x04",),
    "xlsx": (b"PK\x03\x04",),
    "doc": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",),
}
# The header of a PDF may be anywhere in its first PDF_HEAD bytes.
PDF_MAGIC, PDF_HEAD = b"%PDF-", 1024


class UnreadableFile(Exception):
    """The file does not have the format of its name, or is damaged or encrypted. The message is for the client."""


def format_of(filename: str) -> FileFormat | None:
    """Returns the format that the name's ending stands for, or None if that format is not supported."""
    dot = filename.rfind(".")
    return FORMATS.get(filename[dot:].lower()) if dot >= 0 else None


def list_endings() -> str:
    """Returns all supported endings as a comma-separated list, for a message."""
    return ", ".join(sorted(FORMATS))
