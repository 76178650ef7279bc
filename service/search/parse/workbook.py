"""Excel workbooks (ECMA-376 part 1, 18): cells with their values and formats, read row by row.

Only the parts that hold text are read, so a fault in a style or a rule of a sheet does not make a workbook unreadable.
"""

from __future__ import annotations

import datetime
import re
from bisect import bisect_left
from collections.abc import Iterator
from functools import lru_cache
from typing import BinaryIO

from lxml import etree
from openpyxl.styles.numbers import BUILTIN_FORMATS, is_date_format, is_timedelta_format
from openpyxl.utils.datetime import CALENDAR_MAC_1904, CALENDAR_WINDOWS_1900, from_excel, from_ISO8601

from service.search.parse.number_formats import format_cell
from service.search.parse.ooxml import Element, Package, Part, attribute, child, integer, is_off, name_of

MAX_COLUMNS = 16_384
# Tabs between two cells of a row. More empty cells are left out.
MAX_GAP = 64
_GENERAL = "General"
_ESCAPED = re.compile(r"_x([0-9A-Fa-f]{4})_")
_COLUMN = re.compile(r"[A-Z]{1,3}")


class Workbook:
    """The strings and the formats that the sheets of a workbook share."""

    def __init__(self, package: Package) -> None:
        self._package = package
        main = package.main
        self._strings: list[str] = []
        for path in _paths_of_type(main, "sharedStrings"):
            if package.has(path):
                with package.open(path) as part:
                    self._strings += [_string_text(each) for each in _elements(part, "si")]
        self._formats = [text for part in main.parts_of_type("styles") for text in _cell_formats(part.root)]
        properties = child(main.root, "workbookPr")
        is_mac = properties is not None and not is_off(attribute(properties, "date1904") or "0")
        self._epoch = CALENDAR_MAC_1904 if is_mac else CALENDAR_WINDOWS_1900

    def lines(self, path: str, *, with_hidden_rows: bool) -> Iterator[str]:
        """Yields the rows of the sheet in the part `path` that have text, with tabs between the cells.

        Hidden columns are left out, and hidden rows unless `with_hidden_rows` is set. Those of a folded group are read.
        """
        hidden: list[int] = []  # the numbers of hidden columns, sorted
        with self._package.open(path) as part:
            for element in _elements(part, "col", "row"):
                is_hidden = not is_off(element.get("hidden") or "0") and not integer(element, "outlineLevel")
                if name_of(element) == "col":
                    last = min(integer(element, "max"), MAX_COLUMNS)
                    found = range(integer(element, "min"), last + 1) if is_hidden else ()
                    hidden = sorted({*hidden, *found}) if found else hidden
                elif (with_hidden_rows or not is_hidden) and (line := self._line(element, hidden)):
                    yield line

    def _line(self, row: Element, hidden: list[int]) -> str:
        line: list[str] = []
        column = last = 0
        for cell in row:
            if name_of(cell) != "c":
                continue
            column = _column(cell.get("r")) or column + 1
            before = bisect_left(hidden, column)
            if before < len(hidden) and hidden[before] == column:
                continue
            if text := self._cell_text(cell):
                tabs = column - last - (before - bisect_left(hidden, last)) - (0 if last else 1)
                line += ["\t" * min(max(tabs, 0), MAX_GAP), text]
                last = column
        return "".join(line)

    def _cell_text(self, cell: Element) -> str:
        number_format = self._formats[at] if (at := integer(cell, "s")) < len(self._formats) else _GENERAL
        kind = cell.get("t") or "n"
        if kind == "inlineStr":
            inline = child(cell, "is")
            return format_cell(_string_text(inline), number_format) if inline is not None else ""
        stored = child(cell, "v")
        text = (stored.text or "") if stored is not None else ""
        if not text:
            return ""
        match kind:
            case "s":
                known = text.isascii() and text.isdigit() and len(text) < 10 and int(text) < len(self._strings)
                return format_cell(self._strings[int(text)], number_format) if known else ""
            case "b":
                return format_cell(text.strip() == "1", number_format)
            case "n":
                return format_cell(self._number(text, number_format), number_format)
            case "d":
                return format_cell(_iso_date(text), number_format)
            case _:
                return format_cell(_unescape(text), number_format)

    def _number(
        self, text: str, number_format: str
    ) -> float | str | datetime.date | datetime.time | datetime.timedelta:
        """Returns the number, or the date that it stands for in this format. Other text stays as it is."""
        try:
            number = int(text) if text.lstrip("-").isdigit() else float(text)
            if _is_date(number_format):
                found: datetime.date | datetime.time | datetime.timedelta | None = from_excel(
                    number, self._epoch, timedelta=is_timedelta_format(number_format)
                )
                return text if found is None else found
        except (ValueError, OverflowError):
            return text
        return number


@lru_cache(maxsize=256)
def _is_date(number_format: str) -> bool:
    return bool(is_date_format(number_format))


def _elements(part: BinaryIO, *names: str) -> Iterator[Element]:
    """Yields the elements of a part with these names, and frees each one afterwards."""
    tags = tuple(f"{{*}}{name}" for name in names)
    walk = etree.iterparse(
        part, tag=tags, resolve_entities=False, no_network=True, remove_comments=True, remove_pis=True
    )
    for _, element in walk:
        yield element
        element.clear()
        while element.getprevious() is not None:
            del element.getparent()[0]


def _paths_of_type(part: Part, kind: str) -> list[str]:
    return [path for found, path in part.relations.values() if found.rpartition("/")[2] == kind]


def _string_text(string: Element) -> str:
    """Returns the text of a string without its phonetic guides."""
    texts = [each for part in string if name_of(part) in ("t", "r") for each in part.iter("{*}t")]
    return _unescape("".join(text.text or "" for text in texts))


def _unescape(text: str) -> str:
    return _ESCAPED.sub(lambda found: chr(int(found.group(1), 16)), text) if "_x" in text else text


def _cell_formats(styles: Element) -> Iterator[str]:
    """Yields the number formats of the styles of cells, in their order."""
    own: dict[int, str] = {}
    for formats in styles.iterchildren("{*}numFmts"):
        own |= {integer(each, "numFmtId"): each.get("formatCode") or _GENERAL for each in formats}
    for cells in styles.iterchildren("{*}cellXfs"):
        for each in cells:
            number = integer(each, "numFmtId")
            yield own.get(number) or BUILTIN_FORMATS.get(number, _GENERAL)


def _column(reference: str | None) -> int:
    """Returns the number of the column of a cell, from 1, or 0 if the cell does not name it."""
    letters = _COLUMN.match(reference or "")
    number = 0
    for letter in letters.group() if letters is not None else "":
        number = number * 26 + ord(letter) - 64
    return number if number <= MAX_COLUMNS else 0


def _iso_date(text: str) -> object:
    try:
        found: object = from_ISO8601(text)
    except ValueError:
        return text
    return found
