"""Word documents, by python-docx."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

import docx as docx_library
from docx.table import Table

from service.search.parse.archive import MAX_NESTING, check_archive
from service.search.parse.types import TextPiece


def parse(file: BinaryIO) -> Iterator[TextPiece]:
    """Yields paragraphs and tables in document order; a table's row is a line, with tabs between its cells."""
    check_archive(file)
    yield from ((line, None) for line in _blocks(docx_library.Document(file), 0))


def _blocks(container: Any, depth: int) -> Iterator[str]:
    if depth > MAX_NESTING:
        raise RecursionError
    for block in container.iter_inner_content():
        if isinstance(block, Table):
            for row in block.rows:
                cells = (" ".join("".join(_blocks(cell, depth + 1)).split()) for cell in _distinct_cells(row.cells))
                yield "\t".join(cells) + "\n"
        else:
            yield block.text + "\n"


def _distinct_cells(cells: Iterable[Any]) -> Iterator[Any]:
    """Yields each cell once. python-docx repeats a cell that spans several columns."""
    last = None
    for cell in cells:
        if last is None or cell._tc is not last:
            yield cell
        last = cell._tc
