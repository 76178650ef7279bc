"""The text of drawings, charts and SmartArt in Office documents (ECMA-376 part 1, 20 and 21)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from service.search.parse.formulas import formula_text
from service.search.parse.numerals import format_number
from service.search.parse.ooxml import Element, Part, attribute, child, descend, integer, is_off, name_of
from service.search.parse.symbol_fonts import read_symbols

_TEXTS = frozenset(("t", "br", "tab", "oMath"))
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
    for element in descend(paragraph, _TEXTS | _NOT_TEXT):
        match name_of(element):
            case "t":
                words.append(read_symbols(element.text or "", _symbol_font(element)))
            case "oMath":
                words.append(formula_text(element))
            case "br":
                words.append("\n")
            case "tab":
                words.append("\t")
            case _:
                pass  # properties, which hold no text
    return "".join(words)


def _symbol_font(text: Element) -> str | None:
    """Returns the font of the symbols in a run of text, if the run names one."""
    above = text.getparent()
    properties = child(above, "rPr") if above is not None else None
    font = child(properties, "sym") if properties is not None else None
    return None if font is None else attribute(font, "typeface")


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
                if chart is not None:
                    yield from chart_lines(chart.root)
                    for shapes in chart.parts_of_type("chartUserShapes"):
                        yield from graphic_lines([shapes.root], shapes)
            case _:
                data = part.part_of(attribute(element, "dm"))
                yield from smart_art_lines(data.root) if data is not None else ()


def _table_lines(table: Element) -> Iterator[str]:
    for row in descend(table, frozenset(("tr",))):
        cells = [cell for cell in row if name_of(cell) == "tc" and is_off(cell.get("hMerge") or "0")]
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
            position = integer(link, "srcOrd")
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
