"""PowerPoint presentations, by python-pptx."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

import pptx as pptx_library

from service.search.parse.archive import MAX_NESTING, check_archive
from service.search.parse.types import TextPiece


def parse(file: BinaryIO) -> Iterator[TextPiece]:
    """Yields the shapes, tables and notes of each slide; the page is the slide's number from 1."""
    check_archive(file)
    for number, slide in enumerate(pptx_library.Presentation(file).slides, 1):
        lines = [line for shape in slide.shapes for line in _shape_lines(shape, 0)]
        if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
            lines.append(slide.notes_slide.notes_text_frame.text)
        if any(line.strip() for line in lines):
            yield "\n".join(lines) + "\n\n", number


def _shape_lines(shape: Any, depth: int) -> Iterator[str]:
    if depth > MAX_NESTING:
        raise RecursionError
    if shape.has_text_frame:
        yield shape.text_frame.text
    elif getattr(shape, "has_table", False) and shape.has_table:
        for row in shape.table.rows:
            yield "\t".join(" ".join(cell.text.split()) for cell in row.cells)
    elif hasattr(shape, "shapes"):
        for inner in shape.shapes:
            yield from _shape_lines(inner, depth + 1)
