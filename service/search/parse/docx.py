"""Word documents: the text that a reader sees in Word, each piece once.

Tracked changes are read as if they were accepted. Text boxes, ruby readings, comments and footnotes follow the
paragraph or the table row that holds them; endnotes are last. Headers come before their section, footers after it.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from service.search.parse import html, mhtml, rtf
from service.search.parse.archive import MAX_NESTING
from service.search.parse.drawings import graphic_lines
from service.search.parse.field_codes import shown_code
from service.search.parse.formulas import formula_text
from service.search.parse.list_numbers import ListNumbers
from service.search.parse.ooxml import (
    Element,
    Package,
    Part,
    attribute,
    child,
    chosen_content,
    descend,
    hexadecimal,
    is_on,
    name_of,
)
from service.search.parse.symbol_fonts import read_symbols, symbol_letter
from service.search.parse.text import parse as parse_text
from service.search.parse.types import TextPiece
from service.search.parse.word_elements import (
    fields_with_end,
    is_continued,
    is_deleted_cell,
    is_inside,
    is_old_section,
    run_font,
    selected_entry,
)
from service.search.parse.word_styles import WordStyles

# Documents that a document imports, which may import others.
MAX_IMPORTS = 3
_SKIPPED = frozenset(
    (
        *(
            "del",
            "moveFrom",
            "delText",
            "instrText",
            "delInstrText",
            "pPr",
            "rPr",
            "sdtPr",
            "sdtEndPr",
            "tblPr",
            "tblGrid",
        ),
        *("trPr", "tcPr", "sectPr", "fldData", "txPr", "ctrlPr", "docPr", "footnoteRef", "endnoteRef", "annotationRef"),
        *("tblPrEx", "smartTagPr", "customXmlPr", "oMathParaPr"),
    )
)
_BREAKS = {"tab": "\t", "ptab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "-", "softHyphen": ""}
_NOTES = {"footnoteReference": "footnotes", "endnoteReference": "endnotes", "commentReference": "comments"}
_ROWS, _CELLS = frozenset(("tr", *_SKIPPED)), frozenset(("tc", *_SKIPPED))


def parse(file: BinaryIO, imports: int = 0) -> Iterator[TextPiece]:
    """Yields the blocks of the document in reading order; a table's row is a line, with tabs between its cells."""
    for line in _Document(Package(file), imports).lines():
        yield line, None


Story = tuple[Part, Element]


@dataclass(slots=True)
class _Field:
    """A field between its begin and its end. If no result follows the code, Word may show a text instead of it."""

    code: str = ""
    is_code: bool = True


class _Document:
    """Puts the document's lines together. `_line` is the line that is not complete, and `_after` are the texts that
    follow it. `_fields` are the fields that are open.
    """

    def __init__(self, package: Package, imports: int) -> None:
        self._package = package
        self._imports = imports
        self._part = package.main
        self._ends: dict[str, set[Element]] = {}
        self._notes: dict[tuple[str, str | None], Story] = {}
        for kind in _NOTES.values():
            for part in self._part.parts_of_type(kind):
                self._notes |= {(kind, attribute(note, "id")): (part, note) for note in part.root}
        settings = self._part.parts_of_type("settings")
        self._has_even_headers = any(is_on(part.root, "evenAndOddHeaders") for part in settings)
        self._styles = WordStyles(self._part)
        self._list_numbers = ListNumbers(self._part, self._styles)
        self._edge_ids: dict[tuple[str, str], str | None] = {}
        self._is_hidden = False  # by the style of the paragraph that is read
        self._lines: list[str] = []
        self._line: list[str] = []
        self._after: list[Story | str] = []
        self._endnotes: list[Story] = []
        self._fields: list[_Field] = []
        self._depth = 0

    def lines(self) -> Iterator[str]:
        body = child(self._part.root, "body")
        if body is None:
            return
        sections = [each for each in body.iter("{*}sectPr") if not is_old_section(each)]
        for section in sections[:1]:
            yield from self._edges(section, "headerReference")
        number = 0
        for block in body:
            self._block(block)
            yield from self._take_lines()
            while number < len(sections) and is_inside(sections[number], block):
                yield from self._edges(sections[number], "footerReference")
                number += 1
                if number < len(sections):
                    yield from self._edges(sections[number], "headerReference")
        self._flush()
        yield from self._take_lines()
        while self._endnotes:
            yield from self._story(self._endnotes.pop(0))

    def _take_lines(self) -> list[str]:
        lines, self._lines = self._lines, []
        return lines

    def _edges(self, section: Element, kind: str) -> Iterator[str]:
        """Yields the headers or footers of a section that its pages show, and that no earlier section had.

        A section without a header or footer of a type has that of the section before.
        """
        for reference in section:
            if name_of(reference) == kind:
                self._edge_ids[kind, attribute(reference, "type") or "default"] = attribute(reference, "id")
        shown = [
            "default",
            *(["even"] if self._has_even_headers else []),
            *(["first"] if is_on(section, "titlePg") else []),
        ]
        for (each, which), relation_id in self._edge_ids.items():
            part = self._part.part_of(relation_id) if each == kind and which in shown else None
            if part is not None:
                yield from self._story((part, part.root))

    def _story(self, story: Story, *, is_cell: bool = False) -> list[str]:
        """Returns the lines of a header, a note, a text box or a cell. The texts that follow a cell's lines follow the
        row instead.
        """
        if self._depth >= MAX_NESTING:
            raise RecursionError
        outer = self._part, self._lines, self._line, self._fields, self._after, self._depth
        self._part, self._lines, self._line, self._fields = story[0], [], [], []
        self._after, self._depth = (self._after if is_cell else []), self._depth + 1
        for block in story[1]:
            self._block(block, is_cell=is_cell)
        if is_cell:
            self._lines.append("".join(self._line))
        else:
            self._flush()
        lines = self._lines
        self._part, self._lines, self._line, self._fields, self._after, self._depth = outer
        return lines

    def _end_line(self) -> None:
        if self._line:
            self._lines.append("".join(self._line) + "\n")
            self._line = []

    def _flush(self) -> None:
        """Ends the line, and adds the texts that follow it."""
        self._end_line()
        after, self._after = self._after, []
        for each in after:
            self._lines += [each + "\n"] if isinstance(each, str) else self._story(each)

    def _block(self, block: Element, *, is_cell: bool = False) -> None:
        """Adds a paragraph, a table, or a container of these."""
        match name_of(block):
            case "p":
                properties = child(block, "pPr")
                outer, self._is_hidden = self._is_hidden, self._styles.is_hidden(properties, "pStyle")
                self._inline(block)
                self._is_hidden = outer
                if properties is not None and is_continued(properties):
                    return
                self._line.insert(0, self._list_numbers.label(properties))
                self._lines.append("".join(self._line) + "\n")
                self._line = []
                if not is_cell:
                    self._flush()
            case "tbl":
                self._end_line()
                for row in descend(block, _ROWS):
                    self._row(row, is_cell=is_cell)
            case "altChunk":
                self._lines += self._imported_lines(block)
            case "AlternateContent":
                chosen = chosen_content(block)
                for each in chosen if chosen is not None else ():
                    self._block(each, is_cell=is_cell)
            case "oMathPara" | "oMath":
                self._inline(block)
                self._flush()
            case name if name not in _SKIPPED:
                for each in block:
                    self._block(each, is_cell=is_cell)
            case _:
                pass  # properties and deleted text

    def _row(self, row: Element, *, is_cell: bool) -> None:
        properties = child(row, "trPr")
        if name_of(row) != "tr" or is_on(properties, "del") or is_on(properties, "hidden"):
            return
        cells = [cell for cell in descend(row, _CELLS) if name_of(cell) == "tc" and not is_deleted_cell(cell)]
        texts = ["".join(self._story((self._part, cell), is_cell=True)) for cell in cells]
        self._lines.append("\t".join(" ".join(text.split()) for text in texts) + "\n")
        if not is_cell:
            self._flush()

    def _imported_lines(self, chunk: Element) -> list[str]:
        """Returns the lines of a document of another format, which Word imports when it opens this document."""
        _, path = self._part.relations.pop(attribute(chunk, "id") or "", ("", ""))
        reader = _IMPORTS.get(path.rpartition(".")[2].lower())
        if reader is None or not self._package.has(path) or self._imports >= MAX_IMPORTS:
            return []
        file = io.BytesIO(self._package.read(path))
        pieces = parse(file, self._imports + 1) if reader is parse else reader(file)
        return [*(text for text, _ in pieces), "\n"]

    def _inline(self, element: Element) -> None:
        """Adds the text of a paragraph's content to the line."""
        for each in element:
            name = name_of(each)
            match name:
                case "t":
                    self._add(read_symbols(each.text or "", run_font(each)))
                case "r" if self._is_hidden_run(each):
                    for mark in each.iterchildren("{*}fldChar"):
                        self._field_mark(mark)
                case "fldChar":
                    self._field_mark(each)
                case "instrText" if self._fields and self._fields[-1].is_code:
                    self._fields[-1].code += each.text or ""
                case "sym":
                    self._add(symbol_letter(hexadecimal(each, "char"), attribute(each, "font") or ""))
                case "ruby":
                    self._ruby(each)
                case "footnoteReference" | "endnoteReference" | "commentReference":
                    note = self._notes.pop((_NOTES[name], attribute(each, "id")), None)
                    if note is not None:
                        (self._endnotes if name == "endnoteReference" else self._after).append(note)
                case "txbxContent":
                    self._after.append((self._part, each))
                case "textpath":
                    self._after.append(each.get("string") or "")
                case "chart" | "relIds" | "txBody":
                    self._after += graphic_lines([each], self._part)
                case "AlternateContent":
                    chosen = chosen_content(each)
                    if chosen is not None:
                        self._inline(chosen)
                case "p" | "tbl":
                    self._block(each)
                case "oMath":
                    self._add(formula_text(each))
                case _ if name in _BREAKS:
                    self._add(_BREAKS[name])
                case _ if name not in _SKIPPED:
                    self._inline(each)
                case _:
                    pass  # properties and deleted text

    def _add(self, text: str) -> None:
        if not any(field.is_code for field in self._fields):
            self._line.append(text)

    def _is_hidden_run(self, run: Element) -> bool:
        properties = child(run, "rPr")
        if properties is None or (child(properties, "vanish") is None and child(properties, "rStyle") is None):
            return self._is_hidden
        return self._styles.is_hidden(properties, "rStyle")

    def _field_mark(self, mark: Element) -> None:
        """Follows the begin, the separator and the end of fields. A field without an end is text."""
        match attribute(mark, "fldCharType"):
            case "begin" if mark in self._fields_with_end():
                self._add(selected_entry(mark))
                self._fields.append(_Field())
            case "separate" if self._fields:
                self._fields[-1].is_code = False
            case "end" if self._fields:
                field = self._fields.pop()
                if field.is_code:
                    text, reading = shown_code(field.code)
                    self._add(text)
                    self._after += [reading] if reading else []

    def _fields_with_end(self) -> set[Element]:
        if self._part.path not in self._ends:
            self._ends[self._part.path] = fields_with_end(self._part.root)
        return self._ends[self._part.path]

    def _ruby(self, ruby: Element) -> None:
        """Adds the base to the line, so that its words stay whole, and the reading to the texts that follow."""
        base, reading = child(ruby, "rubyBase"), child(ruby, "rt")
        if base is not None:
            self._inline(base)
        if reading is not None:
            outer, self._line = self._line, []
            self._inline(reading)
            self._after.append("".join(self._line))
            self._line = outer


_IMPORTS = {
    **dict.fromkeys(("docx", "docm", "dotx", "dotm"), parse),
    **dict.fromkeys(("htm", "html", "xhtml"), html.parse),
    **dict.fromkeys(("mht", "mhtml"), mhtml.parse),
    "rtf": rtf.parse,
    "txt": parse_text,
}
