"""The text of presentations, workbooks and PDF files that is not in their shapes, cells and lines."""

from __future__ import annotations

import io
import zipfile
import zlib
from typing import Any

import openpyxl
import pptx as pptx_library
import pytest
from openpyxl.chart import BarChart, Reference
from openpyxl.comments import Comment
from pptx.chart import data as chart_data
from pptx.enum.chart import XL_CHART_TYPE
from pptx.oxml import parse_xml
from pptx.util import Inches

from service.search.parse import columns, pdf, pptx, xlsx
from service.search.parse.columns import Segment
from tests.search import sample_documents

INCH = Inches(1)
PLACE = "/Rect [72 600 300 620]"
_A = "http://schemas.openxmlformats.org/drawingml/2006/main"
_P = "http://schemas.openxmlformats.org/presentationml/2006/main"
_R = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_RELATIONS = "http://schemas.openxmlformats.org/package/2006/relationships"


def save(document: Any) -> bytes:
    file = io.BytesIO()
    document.save(file)
    return file.getvalue()


def with_parts(document: bytes, owner: str, parts: dict[str, tuple[str, str]]) -> bytes:
    """Returns the package with parts added beside `owner`, by path: the end of the relationship's type, and the XML."""
    folder, _, name = owner.rpartition("/")
    rels = f"{folder}/_rels/{name}.rels"
    with zipfile.ZipFile(io.BytesIO(document)) as archive:
        members = {each: archive.read(each) for each in archive.namelist()}
    old = members.get(rels, f'<Relationships xmlns="{_RELATIONS}"></Relationships>'.encode()).decode()
    added = "".join(
        f'<Relationship Id="added{number}" Type="{_R}/{kind}" Target="/{path}"/>'
        for number, (path, (kind, _)) in enumerate(parts.items())
    )
    members[rels] = old.replace("</Relationships>", f"{added}</Relationships>").encode()
    return sample_documents.archive({**members, **{path: xml.encode() for path, (_, xml) in parts.items()}})


def slide_text(deck: Any) -> list[str]:
    return [text for text, _ in pptx.parse(io.BytesIO(deck if isinstance(deck, bytes) else save(deck)))]


def new_slide() -> tuple[Any, Any]:
    deck = pptx_library.Presentation()
    return deck, deck.slides.add_slide(deck.slide_layouts[6])


def test_charts_and_tables_of_slides() -> None:
    deck, slide = new_slide()
    data: Any = chart_data.CategoryChartData()  # type: ignore[no-untyped-call]
    data.categories = ["East", "West"]
    data.add_series("Catch", (1.5, 2))
    group = slide.shapes.add_group_shape()
    frame = slide.shapes.add_chart(XL_CHART_TYPE.COLUMN_CLUSTERED, INCH, INCH, INCH, INCH, data)
    frame.chart.has_title = True
    frame.chart.chart_title.text_frame.text = "Herring"
    table = slide.shapes.add_table(2, 2, INCH, INCH, INCH, INCH)
    table.table.cell(0, 0).text = "merged"
    table.table.cell(0, 0).merge(table.table.cell(0, 1))
    table.table.cell(1, 1).text = "two\nlines"
    group._element.append(table._element)
    assert slide_text(deck) == ["merged\n\ttwo lines\nHerring\nCatch\nEast\tWest\n\n"]
    frame.chart.plots[0].has_data_labels = True
    frame.chart.plots[0].data_labels.show_value = True
    assert slide_text(deck)[0].endswith("East\tWest\n1.5\t2\n\n"), "values that are shown"


def test_numbers_of_lists_on_slides() -> None:
    deck, slide = new_slide()
    frame = slide.shapes.add_textbox(INCH, INCH, INCH, INCH).text_frame
    marks = [("arabicPeriod", 0), ("alphaLcParenR", 1), ("alphaLcParenR", 1), ("arabicPeriod", 0), ("", 0)]
    marks += [("romanUcParenBoth", 0), ("arabicPeriod", 0)]
    frame.text = "\n".join("abcdefg")
    for paragraph, (kind, level) in zip(frame.paragraphs, marks, strict=True):
        paragraph.level = level
        if kind:
            mark = parse_xml(f'<a:buAutoNum xmlns:a="{_A}" type="{kind}"/>')
            paragraph._p.get_or_add_pPr().append(mark)
    frame.paragraphs[6]._p.pPr[0].set("startAt", "7")
    assert slide_text(deck) == ["1. a\na) b\nb) c\n2. d\ne\n(I) f\n7. g\n\n"]


def test_text_that_slides_share_comes_once() -> None:
    deck, _ = new_slide()
    deck.slides.add_slide(deck.slide_layouts[6])
    for shapes in (deck.slide_layouts[6].shapes, deck.slide_masters[0].shapes):
        box = (
            f'<p:sp xmlns:p="{_P}" xmlns:a="{_A}"><p:nvSpPr><p:cNvPr id="9" name="b"/><p:cNvSpPr/><p:nvPr/></p:nvSpPr>'
        )
        box += "<p:spPr/><p:txBody><a:bodyPr/><a:p><a:r><a:t>ACME</a:t></a:r></a:p></p:txBody></p:sp>"
        shapes._spTree.append(parse_xml(box))
    assert slide_text(deck) == ["ACME\nACME\n\n"]


def test_hidden_shapes_and_alternatives() -> None:
    deck, slide = new_slide()
    hidden = slide.shapes.add_textbox(INCH, INCH, INCH, INCH)
    hidden.text_frame.text = "hidden"
    hidden._element.nvSpPr.cNvPr.set("hidden", "1")
    shown = slide.shapes.add_textbox(INCH, INCH, INCH, INCH)
    shown.text_frame.text = "shown\nlines"
    alternatives = (
        '<mc:AlternateContent xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006">'
        '<mc:Choice xmlns:a14="http://schemas.microsoft.com/office/drawing/2010/main" Requires="a14"/><mc:Fallback/>'
        "</mc:AlternateContent>"
    )
    both = parse_xml(alternatives)
    slide.shapes._spTree.append(both)
    both[0].append(shown._element)
    both[1].append(parse_xml(shown._element.xml if hasattr(shown._element, "xml") else alternatives))
    assert slide_text(deck) == ["shown\nlines\n\n"]


def test_comments_of_slides() -> None:
    deck, slide = new_slide()
    slide.shapes.add_textbox(INCH, INCH, INCH, INCH).text_frame.text = "slide"
    old = f'<p:cmLst xmlns:p="{_P}"><p:cm><p:text>old comment</p:text></p:cm></p:cmLst>'
    body = "<p:txBody><a:p><a:r><a:t>{}</a:t></a:r></a:p></p:txBody>"
    new = f'<p:cmLst xmlns:p="{_P}" xmlns:a="{_A}"><p:cm><p:replyLst><p:reply>{body.format("reply")}</p:reply>'
    new += f"</p:replyLst>{body.format('new comment')}</p:cm></p:cmLst>"
    parts = {"ppt/comments/c1.xml": ("comments", old), "ppt/comments/c2.xml": ("comments", new)}
    data = with_parts(save(deck), "ppt/slides/slide1.xml", parts)
    assert slide_text(data) == ["slide\nold comment\nnew comment\nreply\n\n"]


def test_text_around_the_cells_of_a_sheet() -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    for row in (("Quarter", "Sales"), ("Q1", 3), ("Q2", 5)):
        sheet.append(row)
    sheet["B2"].comment = Comment("Estimated", "someone")
    sheet.oddHeader.center.text = "Draft && secret, page &P"
    sheet.oddFooter.left.text = "Harbour office"
    for place in (sheet, book.create_chartsheet("Only a chart")):
        chart = BarChart()
        chart.title = "Sales by quarter"
        chart.add_data(Reference(sheet, min_col=2, min_row=1, max_row=3), titles_from_data=True)
        place.add_chart(chart)
    shape = (
        f'<xdr:wsDr xmlns:xdr="urn:x" xmlns:a="{_A}"><xdr:sp><xdr:txBody><a:p><a:r><a:t>A text box</a:t></a:r></a:p>'
    )
    thread = '<ThreadedComments xmlns="urn:x"><threadedComment><text>Why?</text></threadedComment></ThreadedComments>'
    parts = {
        "xl/drawings/box.xml": ("drawing", f"{shape}</xdr:txBody></xdr:sp></xdr:wsDr>"),
        "xl/threadedComments/t1.xml": ("threadedComment", thread),
    }
    data = with_parts(save(book), "xl/worksheets/sheet1.xml", parts)
    text = "".join(piece for piece, _ in xlsx.parse(io.BytesIO(data)))
    cells, _, around = text.partition("Q2\t5\n")
    assert cells == "Sheet\nQuarter\tSales\nQ1\t3\n"
    for line in ("Why?", "Estimated", "Sales by quarter", "A text box", "Draft & secret, page", "Harbour office"):
        assert around.split("\n").count(line) == (2 if line == "Sales by quarter" else 1), around
    assert "Only a chart\nSales by quarter\n" in around


def test_user_shapes_of_charts() -> None:
    deck, slide = new_slide()
    data: Any = chart_data.CategoryChartData()  # type: ignore[no-untyped-call]
    data.categories = ["East"]
    data.add_series("Catch", (1.5,))
    slide.shapes.add_chart(XL_CHART_TYPE.COLUMN_CLUSTERED, INCH, INCH, INCH, INCH, data)
    shape = "<sp><txBody><a:p><a:r><a:t>A label</a:t></a:r></a:p></txBody></sp>"
    shapes = f'<c:userShapes xmlns:c="urn:c" xmlns:a="{_A}">{shape}</c:userShapes>'
    parts = {"ppt/drawings/drawing1.xml": ("chartUserShapes", shapes)}
    charted = save(deck)
    with zipfile.ZipFile(io.BytesIO(charted)) as archive:
        chart = next(name for name in archive.namelist() if name.startswith("ppt/charts/chart"))
    assert slide_text(with_parts(charted, chart, parts)) == ["Catch\nEast\nA label\n\n"]


def test_symbols_and_formulas_of_slides() -> None:
    deck, slide = new_slide()
    frame = slide.shapes.add_textbox(INCH, INCH, INCH, INCH).text_frame
    letters = '<a:r xmlns:a="{}"><a:rPr><a:sym typeface="Symbol"/></a:rPr><a:t>\uf062 = </a:t></a:r>'
    formula = (
        '<a14:m xmlns:a14="http://schemas.microsoft.com/office/drawing/2010/main" xmlns:m="urn:m"><m:oMath><m:f>'
        "<m:num><m:r><m:t>x</m:t></m:r></m:num><m:den><m:r><m:t>y</m:t></m:r></m:den></m:f></m:oMath></a14:m>"
    )
    frame.paragraphs[0]._p.extend([parse_xml(letters.format(_A)), parse_xml(formula)])
    assert slide_text(deck) == ["β = x/y\n\n"]


def page_text(data: bytes) -> str:
    return "".join(text for text, _ in pdf.parse(io.BytesIO(data)))


def test_values_of_form_fields() -> None:
    name = f"/Subtype /Widget /FT /Tx /T (name) /V (Ms \\330deg\\345rd) {PLACE}"
    fields = [
        *(name, name),
        f"/Subtype /Widget /FT /Ch /Ff 131072 /T (berth) /Opt [[(a) (North quay)] [(b) (South quay)]] /V (b) {PLACE}",
        f"/Subtype /Widget /FT /Tx /Ff 8192 /T (password) /V (secret) {PLACE}",
        f"/Subtype /Widget /FT /Tx /F 2 /T (hidden) /V (hidden) {PLACE}",
    ]
    data = sample_documents.pdf(["Name:"], annotations=fields, form=True)
    assert page_text(data) == "Name:\nMs Ødegård\nSouth quay\n\n"


def test_annotations() -> None:
    kinds = {"Text": "A note", "FreeText": "typed", "Highlight": "marked", "Link": "no", "Popup": "no"}
    notes = [f"/Subtype /{kind} /Contents ({text}) {PLACE}" for kind, text in kinds.items()]
    data = sample_documents.pdf(["Page"], annotations=[*notes, f"/Subtype /Text /F 2 /Contents (hidden) {PLACE}"])
    assert page_text(data) == "Page\nA note\ntyped\nmarked\n\n"


def drawn(*places: tuple[int, int, str]) -> bytes:
    """Returns a PDF that draws each text at its place, in this order."""
    commands = "".join(f"1 0 0 1 {x} {y} Tm ({text}) Tj " for x, y, text in places)
    return sample_documents.pdf(["x"], stream=zlib.compress(f"BT /F1 9 Tf {commands} ET".encode()))


def test_two_columns_drawn_line_by_line() -> None:
    left = [(72, 700 - 12 * n, f"The left column has its line number {n} here") for n in range(6)]
    right = [(320, 700 - 12 * n, f"and the right column has its line number {n}") for n in range(5)]
    heading = (72, 730, "A heading that spans both of the columns that are below it on the page, and more")
    end = (72, 600, "A last paragraph that spans both of the columns that are above it on the page, and more")
    mixed = [heading, *sorted(left + right, key=lambda each: (-each[1], each[0])), end]
    expected = "\n".join(text for _, _, text in (heading, *left, *right, end))
    assert page_text(drawn(*mixed)) == expected + "\n\n"
    assert page_text(drawn(heading, *left, *right, end)) == expected + "\n\n"


def test_words_divided_between_lines_of_columns() -> None:
    left = [(72, 700 - 12 * n, f"berths of line {n} in the left har-") for n in range(6)]
    right = [(320, 700 - 12 * n, f"ships and boats of line {n} in Baden-") for n in range(6)]
    mixed = sorted(left + right, key=lambda each: (-each[1], each[0]))
    text = page_text(drawn(*mixed))
    assert text.startswith("berths of line 0 in the left harberths of line 1 in the left har")
    assert "ships and boats of line 0 in Badenships and boats of line 1" in text


def test_hyphens_at_the_ends_of_lines() -> None:
    lines = ("a hyphen-", "ated word in Baden-", "Baden, 1990-", "2000")
    text = page_text(drawn(*((72, 700 - 12 * n, line) for n, line in enumerate(lines))))
    assert text == "a hyphenated word in Baden-Baden, 1990-\n2000\n\n"


HEBREW = "אבגדהוזחטיכלמנסעפצקרשת"


def hebrew_pdf(*places: tuple[int, int, str]) -> bytes:
    """Returns a PDF that draws Hebrew from right to left, by a font that says which letter each code stands for."""
    codes = {letter: chr(97 + at) for at, letter in enumerate(HEBREW)}
    drawing = [(x, y, "".join(codes.get(each, each) for each in reversed(text))) for x, y, text in places]
    pairs = " ".join(f"<{97 + at:02x}> <{ord(letter):04x}>" for at, letter in enumerate(HEBREW))
    cmap = "begincmap 1 begincodespacerange <00> <FF> endcodespacerange "
    cmap += f"{len(HEBREW)} beginbfchar {pairs} endbfchar endcmap"
    data = drawn(*drawing).replace(b"/BaseFont /Helvetica", b"/BaseFont /Helvetica /ToUnicode 99 0 R")
    font = f"99 0 obj\n<< /Length {len(cmap)} >>\nstream\n{cmap}\nendstream\nendobj\n"
    return data[: data.index(b"xref\n")] + font.encode() + b"trailer << /Size 100 /Root 1 0 R >>\n%%EOF\n"


@pytest.mark.parametrize("is_leftward", [True, False])
def test_two_columns_from_right_to_left(is_leftward: bool) -> None:
    prose = "בגדהוז חטיכל מנסעפ צקרש תאבג"
    left = [(72, 700 - 12 * n, f"{'א' * (n + 1)} {prose}") for n in range(6)]
    right = [(320, 700 - 12 * n, f"{'ב' * (n + 1)} {prose}") for n in range(6)]
    mixed = sorted(left + right, key=lambda each: (-each[1], -each[0] if is_leftward else each[0]))
    assert page_text(hebrew_pdf(*mixed)) == "\n".join(text for _, _, text in (*right, *left)) + "\n\n"


@pytest.mark.parametrize("count", [3, 4])
def test_more_columns_drawn_line_by_line(count: int) -> None:
    step = 504 // count
    words = "The prose of column {} in line {}" if count == 3 else "The prose of {} in line {}"
    lengths = [6, 6, 5, 4][:count]
    columns = [
        [(54 + step * column, 700 - 12 * n, words.format("abcd"[column], n)) for n in range(length)]
        for column, length in enumerate(lengths)
    ]
    every = [each for column in columns for each in column]
    mixed = sorted(every, key=lambda each: (-each[1], each[0]))
    assert page_text(drawn(*mixed)) == "\n".join(text for _, _, text in every) + "\n\n"


def test_rows_of_a_table_with_three_columns_stay_lines() -> None:
    places = (72, 250, 430)
    rows = [(f"Item {n}", f"{n}.5 m", f"note {n}") for n in range(6)]
    cells = [(left, 700 - 12 * n, text) for n, row in enumerate(rows) for left, text in zip(places, row, strict=True)]
    assert page_text(drawn(*cells)) == "".join(" ".join(row) + "\n" for row in rows) + "\n"


def test_rows_of_a_table_stay_lines() -> None:
    rows = [((72, 700 - 12 * n, f"Item {n}"), (320, 700 - 12 * n, f"{n}.5 m")) for n in range(6)]
    assert page_text(drawn(*(cell for row in rows for cell in row))) == (
        "".join(f"Item {n} {n}.5 m\n" for n in range(6)) + "\n"
    )


@pytest.mark.parametrize("width", [10.0, 200.0])
def test_long_pages_take_linear_time(width: float) -> None:
    line = [Segment("a", 0.0, width), Segment("b", 300.0, 300.0 + width)]
    assert len(columns.order_lines([line] * 200_000)) == (200_000 if width == 10.0 else 400_000)
