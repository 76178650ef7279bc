"""Which files can be parsed, and as what. Decided by the name's ending, as the API does; bytes have the last word."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import BinaryIO, Literal

Kind = Literal["text", "html", "pdf", "docx", "pptx", "xlsx", "doc"]

# Pieces of text, in order, each with its page where the file has pages. The module of each kind has a `parse`; it
# imports all it needs at its top, because later nothing may be readable.
Piece = tuple[str, int | None]
Parse = Callable[[BinaryIO], Iterator[Piece]]
READ = 1024 * 1024

_TEXT = (".c", ".cpp", ".cs", ".css", ".csv", ".go", ".java", ".js", ".json", ".md", ".php", ".py", ".rb", ".sh")
KINDS: dict[str, Kind] = {
    **dict.fromkeys((*_TEXT, ".tex", ".ts", ".txt"), "text"),
    ".html": "html",
    ".htm": "html",
    ".pdf": "pdf",
    ".docx": "docx",
    ".pptx": "pptx",
    ".xlsx": "xlsx",
    ".doc": "doc",
}
# How such a file must begin. What begins otherwise is not what its name says, and no parser sees it.
MAGIC: dict[Kind, tuple[bytes, ...]] = {
    "docx": (b"PK\x03\x04",),
    "pptx": (b"PK\x03\x04",),
    "xlsx": (b"PK\x03\x04",),
    "doc": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",),
}
# A PDF's header may stand anywhere in its first bytes.
PDF_MAGIC, PDF_HEAD = b"%PDF-", 1024


class Unreadable(Exception):
    """The file is not what its name says, or is damaged or encrypted; the message is for the client."""


def kind_of(filename: str) -> Kind | None:
    """None for a type that is not supported."""
    dot = filename.rfind(".")
    return KINDS.get(filename[dot:].lower()) if dot >= 0 else None


def supported() -> str:
    """The endings, for a message."""
    return ", ".join(sorted(KINDS))
