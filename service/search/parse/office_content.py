"""Finds the reader of an Office document by its bytes, since people save documents of other formats under its ending.

Word and Excel read these too: web pages and RTF as .doc, a .docx that was renamed, XML of Office 2003. Everything that
a reader may need is imported here, because the worker may not be able to read files later.
"""

from __future__ import annotations

import zipfile
from typing import BinaryIO

from service.search.parse import doc, docx, html, mhtml, old_xml, pptx, rtf, text, xlsx
from service.search.parse.types import MAGIC, FileFormat, ParseFunction, UnreadableFile

HEAD = 4096  # bytes at the beginning of a file that name its format
_OTHER_MARKS = (b"<html", b"<!doctype html", b"<table", b"<body", b"<head")
# Beginnings of the lines of a header of MIME, one of which is the first line of an MHTML file.
_MIME = (b"mime-version:", b"from:", b"content-type:", b"subject:", b"date:", b"snapshot-content-location:")
_FOLDERS: dict[str, ParseFunction] = {"word/": docx.parse, "ppt/": pptx.parse, "xl/": xlsx.parse}


def find_reader(file_format: FileFormat, file: BinaryIO) -> ParseFunction:
    """Returns the function that reads the file, which has the ending of `file_format`. Raises UnreadableFile."""
    head = file.read(HEAD)
    file.seek(0)
    if head.startswith(MAGIC["docx"]):
        return _reader_of_archive(file, file_format)
    if head.startswith(MAGIC["doc"]):
        if file_format not in ("doc", "docx"):
            raise UnreadableFile(f"The file is no {file_format} file, whatever its name says.")
        return doc.parse
    start = _ascii(head).lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n").lower()
    if start.startswith(rtf.MAGIC):
        return rtf.parse
    if start.startswith(b"<"):
        if old_xml.is_document(_ascii(head)):
            return old_xml.parse
        if any(mark in start for mark in _OTHER_MARKS):
            return html.parse
    if start.startswith(_MIME) and b"mime-version:" in start:
        return mhtml.parse
    if file_format == "doc":  # Word shows it as plain text
        return text.parse
    raise UnreadableFile(f"The file is no {file_format} file, whatever its name says.")


def _ascii(head: bytes) -> bytes:
    """Returns the beginning without the zeros of UTF-16, so that names in it are found."""
    return head.replace(b"\0", b"") if head.startswith((b"\xff\xfe", b"\xfe\xff")) else head


def _reader_of_archive(file: BinaryIO, file_format: FileFormat) -> ParseFunction:
    """Returns the reader of the archive's documents; that of `file_format` if the archive names none, or is damaged."""
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError):
        names = []
    finally:
        file.seek(0)
    named = {"docx": docx.parse, "pptx": pptx.parse, "xlsx": xlsx.parse, "doc": docx.parse}[file_format]
    found = [reader for folder, reader in _FOLDERS.items() if any(name.lower().startswith(folder) for name in names)]
    return named if named in found or not found else found[0]
