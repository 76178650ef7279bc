"""Excel workbooks: the cells of each sheet, row by row; then its comments, drawings, header and footer.

The text is what a reader sees: hidden sheets, columns and rows are left out, unless the sheet has a control that shows
them, which is a filter or a folded group.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from typing import BinaryIO

from service.search.parse.drawings import graphic_lines
from service.search.parse.ooxml import Element, Package, child, descend, integer, name_of
from service.search.parse.types import READ, TextPiece
from service.search.parse.workbook import Workbook

# Bytes at the end of a sheet among which its header and footer, and its filter, are looked for.
TAIL = 65_536
_EDGE = re.compile(r"<(?:\w+:)?(?:odd|even|first)(?:Header|Footer)[^>/]*>([^<]*)<")
# Codes in headers and footers: fonts, sizes, colours, positions, and fields such as the page number.
_EDGE_CODES = re.compile(r'&(?:"[^"]*"|\d+|K[0-9A-Fa-f]{6}|K\d\d[+-]\d{3}|[A-Za-z])')
_DRAWING = frozenset(("sp", "graphicFrame", "cxnSp"))
_FILTER = "filterColumn"


def parse(file: BinaryIO) -> Iterator[TextPiece]:
    """Yields each sheet's name, then its rows as lines with tabs between the cells, then the text around the cells.

    Cells appear as Excel shows them, by their number formats. Formulas appear as the values that they had when the
    workbook was saved.
    """
    package = Package(file)
    book = Workbook(package)
    entries = child(package.main.root, "sheets")
    for entry in entries if entries is not None else ():
        if (entry.get("state") or "visible") != "visible":
            continue
        yield f"{entry.get('name') or ''}\n", None
        relation = next((str(value) for key, value in entry.attrib.items() if str(key).endswith("}id")), "")
        kind, path = package.main.relations.get(relation, ("", ""))
        tail = _tail(package, path)
        if kind.endswith("/worksheet") and package.has(path):
            for line in book.lines(path, with_hidden_rows=_has_filter(package, path, tail)):
                yield line + "\n", None
        for line in (*_lines_around(package, path), *_edge_lines(tail)):
            yield line + "\n", None
        yield "\n", None


def _tail(package: Package, path: str) -> str:
    """Returns the end of a part."""
    tail = b""
    if package.has(path):
        with package.open(path) as part:
            while piece := part.read(READ):
                tail = (tail + piece)[-TAIL:]
    return tail.decode("utf-8", "replace")


def _has_filter(package: Package, path: str, tail: str) -> bool:
    """Returns whether a filter of the sheet or of one of its tables selects rows."""
    tables = [target for kind, target in package.relations_of(path).values() if kind.endswith("/table")]
    parts = [package.take(target) for target in tables]
    return _FILTER in tail or any(next(part.root.iter("{*}" + _FILTER), None) is not None for part in parts if part)


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


def _notes(comments: Element, *, is_threaded: bool) -> Iterator[str]:
    """Yields the notes of cells. The notes that stand for threads, for old versions of Excel, are left out."""
    authors = [each.text or "" for each in comments.iter("{*}author")]
    for comment in comments.iter("{*}comment"):
        number = integer(comment, "authorId")
        author = authors[number] if number < len(authors) else ""
        if not (is_threaded and author.startswith("tc=")):
            runs = descend(comment, frozenset(("t", "rPh")))
            yield "".join(run.text or "" for run in runs if name_of(run) == "t")


def _edge_lines(tail: str) -> Iterator[str]:
    for found in _EDGE.finditer(tail):
        text = _EDGE_CODES.sub(" ", unescape(found.group(1)).replace("&&", "\0")).replace("\0", "&")
        if text := " ".join(text.split()):
            yield text
