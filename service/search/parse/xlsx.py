"""Excel workbooks, by openpyxl, row by row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import openpyxl

from service.search.parse.archive import check_archive
from service.search.parse.types import TextPiece


def parse(file: BinaryIO) -> Iterator[TextPiece]:
    """Yields each sheet's name, then its rows as lines with tabs between the cells.

    Formulas appear as the values that they had when the workbook was saved.
    """
    check_archive(file)
    book = openpyxl.load_workbook(file, read_only=True, data_only=True)
    for sheet in book.worksheets:
        yield f"{sheet.title}\n", None
        sheet.reset_dimensions()  # the dimensions that a sheet declares may be wrong
        for row in sheet.iter_rows(values_only=True):
            line = "\t".join("" if value is None else str(value) for value in row).rstrip("\t")
            if line:
                yield line + "\n", None
        yield "\n", None
