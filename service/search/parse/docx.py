"""Word documents: the text that a reader sees in Word, each piece once.

Tracked changes are read as if they were accepted. Text boxes, ruby readings, comments and footnotes follow the
paragraph or the table row that holds them; endnotes are last. Headers come before their section, footers after it.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import BinaryIO

from service.search.parse import html
from service.search.parse.archive import MAX_NESTING
from service.search.parse.list_numbers import ListNumbers
from service.search.parse.ooxml import (
    Element,
    Package,
    Part,
    attribute,
    child,
    chosen_content,
    descend,
    graphic_lines,
    is_on,
    name_of,
)
from service.search.parse.text import parse as parse_text
from service.search.parse.types import TextPiece

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
        *("tblPrEx", "smartTagPr", "customXmlPr", "naryPr", "fPr", "radPr", "dPr", "sSupPr", "sSubPr", "oMathParaPr"),
    )
)
_BREAKS = {"tab": "\t", "ptab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "-", "softHyphen": ""}
# Marks between the parts of a formula that are not in its text.
_MATH = {"den": "/", "sup": "^", "sub": "_", "rad": "√"}
_NOTES = {"footnoteReference": "footnotes", "endnoteReference": "endnotes", "commentReference": "comments"}
_ROWS, _CELLS = frozenset(("tr", *_SKIPPED)), frozenset(("tc", *_SKIPPED))
_PRIVATE = range(0xE000, 0xF900)  # letters of symbol fonts, which have no meaning without their font


def parse(file: BinaryIO, imports: int = 0) -> Iterator[TextPiece]:
    """Yields the blocks of the document in reading order; a table's row is a line, with tabs between its cells."""
    for line in _Document(Package(file), imports).lines():
        yield line, None


Story = tuple[Part, Element]


class _Document:
    """Puts the document's lines together. `_line` is the line that is not complete, and `_after` are the texts that
    follow it. Fields are open from their begin to their end: True while their code, which is not shown, goes on.
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
        self._list_numbers = ListNumbers(self._part)
        self._lines: list[str] = []
        self._line: list[str] = []
        self._after: list[Story | str] = []
        self._endnotes: list[Story] = []
        self._fields: list[bool] = []
        self._depth = 0

    def lines(self) -> Iterator[str]:
        body = child(self._part.root, "body")
        if body is None:
            return
        sections = [each for each in body.iter("{*}sectPr") if not _is_old(each)]
        for section in sections[:1]:
            yield from self._edges(section, "headerReference")
        number = 0
        for block in body:
            self._block(block)
            yield from self._take_lines()
            while number < len(sections) and _is_in(sections[number], block):
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
        """Yields the headers or footers of a section that its pages show, and that no earlier section had."""
        for reference in section:
            which = attribute(reference, "type")
            if name_of(reference) != kind or (which == "even" and not self._has_even_headers):
                continue
            if which == "first" and not is_on(section, "titlePg"):
                continue
            part = self._part.part_of(attribute(reference, "id"))
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

    def _flush(self) -> None:
        """Ends the line, and adds the texts that follow it."""
        if self._line:
            self._lines.append("".join(self._line) + "\n")
            self._line = []
        after, self._after = self._after, []
        for each in after:
            self._lines += [each + "\n"] if isinstance(each, str) else self._story(each)

    def _block(self, block: Element, *, is_cell: bool = False) -> None:
        """Adds a paragraph, a table, or a container of these."""
        match name_of(block):
            case "p":
                self._inline(block)
                properties = child(block, "pPr")
                mark = child(properties, "rPr") if properties is not None else None
                if mark is not None and (child(mark, "del") is not None or child(mark, "moveFrom") is not None):
                    return  # the end of the paragraph is deleted, so the next paragraph continues its line
                self._line.insert(0, self._list_numbers.label(properties))
                self._lines.append("".join(self._line) + "\n")
                self._line = []
                if not is_cell:
                    self._flush()
            case "tbl":
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
        if name_of(row) != "tr" or (properties is not None and child(properties, "del") is not None):
            return
        cells = [cell for cell in descend(row, _CELLS) if name_of(cell) == "tc" and not _is_deleted_cell(cell)]
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
                    self._add(each.text or "")
                case "r" if is_on(child(each, "rPr"), "vanish"):
                    for mark in each.iterchildren("{*}fldChar"):
                        self._field_mark(mark)
                case "fldChar":
                    self._field_mark(each)
                case "sym":
                    letter = chr(int(attribute(each, "char") or "20", 16))
                    self._add("" if ord(letter) in _PRIVATE else letter)
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
                case "d" if child(each, "e") is not None:
                    self._add("(")
                    self._inline(each)
                    self._add(")")
                case _ if name in _BREAKS:
                    self._add(_BREAKS[name])
                case _ if name not in _SKIPPED:
                    self._add(_MATH.get(name, ""))
                    self._inline(each)
                case _:
                    pass  # properties and deleted text

    def _add(self, text: str) -> None:
        if not any(self._fields):
            self._line.append(text)

    def _field_mark(self, mark: Element) -> None:
        """Follows the begin, the separator and the end of fields. A field without an end is text."""
        match attribute(mark, "fldCharType"):
            case "begin" if mark in self._fields_with_end():
                self._add(_selected_entry(mark))
                self._fields.append(True)
            case "separate" if self._fields:
                self._fields[-1] = False
            case "end" if self._fields:
                self._fields.pop()

    def _fields_with_end(self) -> set[Element]:
        """Returns the begins of the part's fields that have an end."""
        if self._part.path not in self._ends:
            found, begins = set[Element](), list[Element]()
            for mark in self._part.root.iter("{*}fldChar"):
                kind = attribute(mark, "fldCharType")
                if kind == "begin":
                    begins.append(mark)
                elif kind == "end" and begins:
                    found.add(begins.pop())
            self._ends[self._part.path] = found
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


def _selected_entry(mark: Element) -> str:
    """Returns the entry that a drop-down field of a form shows."""
    choices = next(mark.iter("{*}ddList"), None)
    if choices is None:
        return ""
    entries = [attribute(each, "val") or "" for each in choices if name_of(each) == "listEntry"]
    chosen = child(choices, "result")
    chosen = chosen if chosen is not None else child(choices, "default")
    number = int(attribute(chosen, "val") or 0) if chosen is not None else 0
    return entries[number] if 0 <= number < len(entries) else ""


def _is_deleted_cell(cell: Element) -> bool:
    properties = child(cell, "tcPr")
    return properties is not None and child(properties, "cellDel") is not None


def _is_old(section: Element) -> bool:
    """Returns whether the section's settings are those from before a tracked change."""
    return any(name_of(above) in ("sectPrChange", "pPrChange") for above in section.iterancestors())


def _is_in(element: Element, block: Element) -> bool:
    return element is block or any(above is block for above in element.iterancestors())


_IMPORTS = {"docx": parse, "htm": html.parse, "html": html.parse, "xhtml": html.parse, "txt": parse_text}
