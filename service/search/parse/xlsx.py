"""Excel workbooks: the cells by openpyxl, row by row; then each sheet's comments, drawings, header and footer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from typing import Any, BinaryIO

import openpyxl
from openpyxl.utils.exceptions import InvalidFileException

from service.search.parse.number_formats import format_cell
from service.search.parse.ooxml import Element, Package, child, descend, graphic_lines, name_of
from service.search.parse.types import READ, TextPiece, UnreadableFile

# Bytes at the end of a sheet among which its header and footer are looked for.
TAIL = 65_536
_EDGE = re.compile(r"<(?:\w+:)?(?:odd|even|first)(?:Header|Footer)[^>/]*>([^<]*)<")
# Codes in headers and footers: fonts, sizes, colours, positions, and fields such as the page number.
_EDGE_CODES = re.compile(r'&(?:"[^"]*"|\d+|K[0-9A-Fa-f]{6}|K\d\d[+-]\d{3}|[A-Za-z])')
_DRAWING = frozenset(("sp", "graphicFrame", "cxnSp"))


def parse(file: BinaryIO) -> Iterator[TextPiece]:
    """Yields each sheet's name, then its rows as lines with tabs between the cells, then the text around the cells.

    Cells appear as Excel shows them, by their number formats. Formulas appear as the values that they had when the
    workbook was saved.
    """
    package = Package(file)
    file.seek(0)
    try:
        book = openpyxl.load_workbook(file, read_only=True, data_only=True)
    except InvalidFileException as error:
        raise UnreadableFile(f"The workbook cannot be read: {error}") from None
    sheets = {sheet.title: sheet for sheet in book.worksheets}
    entries = child(package.main.root, "sheets")
    for entry in entries if entries is not None else ():
        title = entry.get("name") or ""
        yield f"{title}\n", None
        if (sheet := sheets.get(title)) is not None:
            sheet.reset_dimensions()  # the dimensions that a sheet declares may be wrong
            for row in sheet.iter_rows():
                line = "\t".join(map(_cell_text, row)).rstrip("\t")
                if line:
                    yield line + "\n", None
        relation = next((str(value) for key, value in entry.attrib.items() if str(key).endswith("}id")), "")
        for line in _lines_around(package, package.main.relations.get(relation, ("", ""))[1]):
            yield line + "\n", None
        yield "\n", None


def _cell_text(cell: Any) -> str:
    value = cell.value
    if value is None:
        return ""
    # Most cells have no style, and looking up a format takes longer than reading the value.
    return format_cell(value, cell.number_format if cell.has_style else "General")


def _lines_around(package: Package, path: str) -> Iterator[str]:
    """Yields the comments, the texts of the drawings, and the header and footer of the sheet in the part `path`."""
    relations = package.relations_of(path)
    parts = [(kind.rpartition("/")[2], part) for kind, target in relations.values() if (part := package.take(target))]
    threads = [part.root for kind, part in parts if kind == "threadedComment"]
    for root in threads:
        yield from (text.text or "" for text in root.iter("{*}text"))
    for kind, part in parts:
        if kind == "comments":
            yield from _notes(part.root, is_threaded=bool(threads))
        elif kind == "drawing":
            for shape in descend(part.root, _DRAWING):
                yield from graphic_lines([shape], part)
    if package.has(path):
        yield from _edge_lines(package, path)


def _notes(comments: Element, *, is_threaded: bool) -> Iterator[str]:
    """Yields the notes of cells. The notes that stand for threads, for old versions of Excel, are left out."""
    authors = [each.text or "" for each in comments.iter("{*}author")]
    for comment in comments.iter("{*}comment"):
        number = int(comment.get("authorId") or 0)
        author = authors[number] if 0 <= number < len(authors) else ""
        if not (is_threaded and author.startswith("tc=")):
            runs = descend(comment, frozenset(("t", "rPh")))
            yield "".join(run.text or "" for run in runs if name_of(run) == "t")


def _edge_lines(package: Package, path: str) -> Iterator[str]:
    tail = b""
    with package.open(path) as part:
        while piece := part.read(READ):
            tail = (tail + piece)[-TAIL:]
    for found in _EDGE.finditer(tail.decode("utf-8", "replace")):
        text = _EDGE_CODES.sub(" ", unescape(found.group(1)).replace("&&", "\0")).replace("\0", "&")
        if text := " ".join(text.split()):
            yield text
