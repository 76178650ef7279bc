"""Excel, by openpyxl, row by row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import openpyxl

from service.search.parse.archive import look_over
from service.search.parse.types import Piece


def parse(file: BinaryIO) -> Iterator[Piece]:
    """Each sheet's name, then its rows as lines with tabs between the cells; values as they were last computed."""
    look_over(file)
    book = openpyxl.load_workbook(file, read_only=True, data_only=True)
    for sheet in book.worksheets:
        yield f"{sheet.title}\n", None
        sheet.reset_dimensions()  # what a sheet says of its own size may be anything
        for row in sheet.iter_rows(values_only=True):
            line = "\t".join("" if value is None else str(value) for value in row).rstrip("\t")
            if line:
                yield line + "\n", None
        yield "\n", None
