"""Packages of Office Open XML (ECMA-376): parts, their relationships, and the text of drawings, charts and SmartArt.

Elements are compared by their local names, so that documents of the strict and of the transitional form are the same.
A part is parsed at most once for a document: relationships of a hostile document may all name one large part.
"""

from __future__ import annotations

import posixpath
import zipfile
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO
from urllib.parse import unquote

from lxml import etree

from service.search.parse.archive import check_archive
from service.search.parse.numerals import format_number

Element = Any  # an lxml element, which has no types
# Namespaces that Office knows: the first choice of an AlternateContent that needs only these is shown.
_KNOWN = ("http://schemas.microsoft.com/office/", "http://schemas.openxmlformats.org/", "http://purl.oclc.org/ooxml/")
_OFF = ("0", "false", "off", "none")


def name_of(element: Element) -> str:
    """Returns the local name; an empty string for a comment or a processing instruction."""
    tag = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def attribute(element: Element, name: str) -> str | None:
    """Returns the attribute with this local name, in any namespace."""
    for key, value in element.attrib.items():
        if str(key).rpartition("}")[2] == name:
            return str(value)
    return None


def integer(element: Element, name: str = "val", default: int = 0) -> int:
    """Returns the attribute as a number of up to nine digits, or the default if it is none."""
    text = attribute(element, name) or ""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else default


def child(element: Element, name: str) -> Element | None:
    """Returns the first child with this local name."""
    return next((each for each in element if name_of(each) == name), None)


def is_on(properties: Element | None, name: str) -> bool:
    """Returns whether a property that is an element, such as <w:vanish/>, is present and not switched off."""
    found = child(properties, name) if properties is not None else None
    return found is not None and (attribute(found, "val") or "1") not in _OFF


def chosen_content(alternatives: Element) -> Element | None:
    """Returns the alternative of an mc:AlternateContent that Office shows: the same text is in each of them."""
    for each in alternatives:
        if name_of(each) == "Choice":
            needed = [each.nsmap.get(prefix) or "" for prefix in (each.get("Requires") or "").split()]
            if all(namespace.startswith(_KNOWN) for namespace in needed):
                return each
    return child(alternatives, "Fallback")


def descend(top: Iterable[Element], wanted: frozenset[str]) -> Iterator[Element]:
    """Yields the outermost elements below `top` that have one of the wanted names, in order, as Office shows them."""
    stack = [iter(top)]
    while stack:
        element = next(stack[-1], None)
        if element is None:
            stack.pop()
        elif name_of(element) in wanted:
            yield element
        elif name_of(element) == "AlternateContent":
            chosen = chosen_content(element)
            stack.append(iter(chosen if chosen is not None else ()))
        else:
            stack.append(iter(element))


class Part:
    """A part of a package: its path, its relationships by id as (type, target path), and its root element."""

    def __init__(self, package: Package, path: str) -> None:
        self._package = package
        self.path = path
        self.relations: dict[str, tuple[str, str]] = package.relations_of(path)
        self.root = package.parse(path)

    def part_of(self, relation_id: str | None) -> Part | None:
        """Returns the part that the relationship names; None if it is missing or was returned before."""
        _, path = self.relations.get(relation_id or "", ("", ""))
        return self._package.take(path)

    def parts_of_type(self, kind: str) -> list[Part]:
        """Returns the parts of relationships whose type ends in `kind`, which were not returned before."""
        paths = [path for found, path in self.relations.values() if found.rpartition("/")[2] == kind]
        return [part for path in paths if (part := self._package.take(path)) is not None]


class Package:
    """An open package; `main` is the part of the document. Raises UnreadableFile, and KeyError if it is damaged."""

    def __init__(self, file: BinaryIO) -> None:
        check_archive(file)
        self._archive = zipfile.ZipFile(file)
        self._names = {name.lower(): name for name in self._archive.namelist()}
        self._taken: set[str] = set()
        kinds = {kind.rpartition("/")[2]: path for kind, path in self.relations_of("").values()}
        main = self.take(kinds["officeDocument"])
        if main is None:
            raise KeyError(kinds["officeDocument"])
        self.main = main

    def take(self, path: str) -> Part | None:
        """Returns the part; None if it is missing or was returned before."""
        name = self._names.get(path.lower())
        if name is None or name in self._taken:
            return None
        self._taken.add(name)
        return Part(self, name)

    def has(self, path: str) -> bool:
        return path.lower() in self._names

    def read(self, path: str) -> bytes:
        return self._archive.read(self._names[path.lower()])

    def open(self, path: str) -> BinaryIO:
        return self._archive.open(self._names[path.lower()])  # type: ignore[return-value]

    def parse(self, path: str) -> Element:
        """Returns the root of the part; an empty element if it is not XML. Entities are not expanded."""
        parser = etree.XMLParser(resolve_entities=False, no_network=True, remove_comments=True, remove_pis=True)
        if not path.lower().endswith((".xml", ".rels")):
            return etree.Element("none")
        return etree.fromstring(self.read(path), parser)

    def relations_of(self, path: str) -> dict[str, tuple[str, str]]:
        folder, name = posixpath.split(path)
        rels = posixpath.join(folder, "_rels", f"{name}.rels")
        if rels.lower() not in self._names:
            return {}
        found: dict[str, tuple[str, str]] = {}
        for relation in self.parse(rels):
            target = unquote(relation.get("Target") or "")
            if relation.get("TargetMode") != "External":
                full = target.lstrip("/") if target.startswith("/") else posixpath.join(folder, target)
                found[relation.get("Id") or ""] = (relation.get("Type") or "", posixpath.normpath(full))
        return found


_TEXTS = frozenset(("t", "br", "tab", "AlternateContent"))
_AUTO_NUMBERS = {
    "alphaLc": "lowerLetter",
    "alphaUc": "upperLetter",
    "romanLc": "lowerRoman",
    "romanUc": "upperRoman",
    "circleNum": "decimalEnclosedCircle",
    "ea1": "chineseCounting",
    "arabic": "decimal",
}
_NOT_TEXT = frozenset(("pPr", "rPr", "endParaRPr"))


def drawing_text(body: Element) -> str:
    """Returns the paragraphs of DrawingML text as lines, with the numbers of lists."""
    numbers = DrawingNumbers()
    return "\n".join(
        numbers.label(child(paragraph, "pPr")) + _drawing_line(paragraph)
        for paragraph in descend(body, frozenset(("p",)))
    )


class DrawingNumbers:
    """Counts the paragraphs of numbered lists in DrawingML text."""

    def __init__(self) -> None:
        self._counters: dict[int, tuple[str, int]] = {}  # by level: the list's format and start, and its last number

    def label(self, properties: Element | None) -> str:
        """Returns the number of a paragraph with these properties, and the space after it, or an empty text."""
        level = integer(properties, "lvl", 0) if properties is not None else 0
        mark = child(properties, "buAutoNum") if properties is not None else None
        self._counters = {
            at: count for at, count in self._counters.items() if at < level or (at == level and mark is not None)
        }
        if mark is None:
            return ""
        kind, start = mark.get("type") or "", integer(mark, "startAt", 1)
        key = f"{kind} {start}"
        before, number = self._counters.get(level, ("", 0))
        number = number + 1 if before == key else start
        self._counters[level] = key, number
        known = next((name for name in _AUTO_NUMBERS if kind.startswith(name)), "")
        text = format_number(_AUTO_NUMBERS.get(known, "decimal"), number)
        match kind.removeprefix(known):
            case "ParenBoth":
                return f"({text}) "
            case "ParenR":
                return f"{text}) "
            case "Period":
                return f"{text}. "
            case _:
                return f"{text} "


def _drawing_line(paragraph: Element) -> str:
    words = []
    for element in descend(paragraph, _TEXTS - {"AlternateContent"} | _NOT_TEXT):
        match name_of(element):
            case "t":
                words.append(element.text or "")
            case "br":
                words.append("\n")
            case "tab":
                words.append("\t")
            case _:
                pass  # properties, which hold no text
    return "".join(words)


def graphic_lines(graphic: Iterable[Element], part: Part) -> Iterator[str]:
    """Yields the lines of a table, a chart, SmartArt or shapes in a graphic; `part` is the part that holds it."""
    for element in descend(graphic, frozenset(("tbl", "chart", "relIds", "txBody"))):
        match name_of(element):
            case "tbl":
                yield from _table_lines(element)
            case "txBody":
                yield drawing_text(element)
            case "chart":
                chart = part.part_of(attribute(element, "id"))
                yield from chart_lines(chart.root) if chart is not None else ()
            case _:
                data = part.part_of(attribute(element, "dm"))
                yield from smart_art_lines(data.root) if data is not None else ()


def _table_lines(table: Element) -> Iterator[str]:
    for row in descend(table, frozenset(("tr",))):
        cells = [cell for cell in row if name_of(cell) == "tc" and (cell.get("hMerge") or "0") in _OFF]
        yield "\t".join(" ".join(drawing_text(cell).split()) for cell in cells)


def chart_lines(chart: Element) -> Iterator[str]:
    """Yields each text of a chart once: titles, names of series, categories and labels; and values that are shown."""
    seen: set[str] = set()
    values = any(attribute(each, "val") != "0" for each in chart.iter("{*}showVal")) or next(
        chart.iter("{*}dTable"), None
    )
    wanted = frozenset(("p", "strCache", "multiLvlStrCache", "strLit", "numCache", "numLit", "lvl", "v"))
    for element in descend(chart, wanted):
        match name_of(element):
            case "p":
                line = _drawing_line(element)
            case "numCache" | "numLit" if not values and not _names_points(element):
                continue
            case "v":
                line = element.text or ""
            case "lvl" if name_of(element.getparent()) == "numDim":  # of the charts of 2016 and newer
                continue
            case _:
                points = (point for point in element.iter("{*}pt") if point is not element)
                line = "\t".join((point.text or "").strip() or point.findtext("{*}v") or "" for point in points)
        if line.strip() and line not in seen:
            seen.add(line)
            yield line


def _names_points(numbers: Element) -> bool:
    """Returns whether the numbers are categories, such as years, which the axis shows."""
    above = numbers.getparent()
    above = above.getparent() if above is not None else None
    return above is not None and name_of(above) == "cat"


def smart_art_lines(data: Element) -> Iterator[str]:
    """Yields the texts of the data model of a SmartArt diagram: a node, then its children in their order."""
    points = {point.get("modelId"): point for point in descend(data, frozenset(("pt",)))}
    children: dict[str | None, list[tuple[int, str | None]]] = {}
    for link in descend(data, frozenset(("cxn",))):
        if link.get("type") in (None, "parOf"):
            position = int(link.get("srcOrd") or 0)
            children.setdefault(link.get("srcId"), []).append((position, link.get("destId")))
    stack = [id for id, point in points.items() if point.get("type") == "doc"]
    ordered: dict[str | None, None] = {}
    while stack:
        id = stack.pop()
        if id not in ordered:
            ordered[id] = None
            stack += [below for _, below in sorted(children.get(id, ()), key=lambda each: -each[0])]
    for id in [*ordered, *(id for id in points if id not in ordered)]:
        point = points.get(id)
        text = child(point, "t") if point is not None and point.get("type") != "pres" else None
        if text is not None and (line := drawing_text(text)).strip():
            yield line
