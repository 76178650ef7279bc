"""The cells of workbooks as other programs than Excel write them, and what a reader of a sheet does not see."""

from __future__ import annotations

import io

import pytest

from service.search.parse import workbook, xlsx
from tests.search.sample_documents import archive

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
STRICT = "http://purl.oclc.org/ooxml/spreadsheetml/main", "http://purl.oclc.org/ooxml/officeDocument/relationships"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"


def book(*sheets: str, states: str = "", strings: str = "", styles: str = "", strict: bool = False) -> bytes:
    """Returns a workbook; each sheet is given as the content of its part. The last sheet has the state `states`."""
    main, relations = STRICT if strict else (MAIN, RELATIONS)
    names = f'xmlns="{main}" xmlns:r="{relations}"'
    parts = {
        f"sheet{number}.xml": ("worksheet", f"<worksheet {names}>{xml}</worksheet>")
        for number, xml in enumerate(sheets, 1)
    }
    entries = [f'name="S{number}" sheetId="{number}" r:id="r{number}"' for number in range(1, len(sheets) + 1)]
    entries[-1] += f' state="{states}"' if states else ""
    parts["strings.xml"] = ("sharedStrings", f"<sst {names}>{strings}</sst>")
    parts["styles.xml"] = ("styles", f"<styleSheet {names}>{styles}</styleSheet>")
    links = "".join(
        f'<Relationship Id="r{number}" Type="{relations}/{kind}" Target="{name}"/>'
        for number, (name, (kind, _)) in enumerate(parts.items(), 1)
    )
    members = {
        "_rels/.rels": f'<Relationships xmlns="{_PACKAGE}"><Relationship Id="r1" Type="{relations}/officeDocument" '
        'Target="xl/book.xml"/></Relationships>',
        "xl/_rels/book.xml.rels": f'<Relationships xmlns="{_PACKAGE}">{links}</Relationships>',
        "xl/book.xml": f"<workbook {names}><sheets><sheet {'/><sheet '.join(entries)}/></sheets></workbook>",
        **{f"xl/{name}": xml for name, (_, xml) in parts.items()},
    }
    return archive({name: xml.encode() for name, xml in members.items()})


def rows(*cells: str, attributes: str = "") -> str:
    return f"<row {attributes}>{''.join(cells)}</row>"


def cell(text: str, reference: str = "") -> str:
    place = f'r="{reference}"' if reference else ""
    return f'<c {place} t="inlineStr"><is><t>{text}</t></is></c>'


def sheet_text(data: bytes) -> str:
    return "".join(piece for piece, _ in xlsx.parse(io.BytesIO(data)))


def data(*lines: str) -> str:
    return f"<sheetData>{''.join(lines)}</sheetData>"


@pytest.mark.parametrize("state", ["hidden", "veryHidden"])
def test_hidden_sheets_are_left_out(state: str) -> None:
    assert sheet_text(book(data(rows(cell("seen"))), data(rows(cell("hidden"))), states=state)) == "S1\nseen\n\n"


def test_hidden_rows_and_columns_are_left_out() -> None:
    columns = '<cols><col min="2" max="3" hidden="1"/><col min="5" max="5" outlineLevel="1" hidden="1"/></cols>'
    line = rows(*(cell(text, f"{column}1") for column, text in zip("ABCDE", "abcde", strict=True)))
    further = rows(cell("no"), attributes='hidden="1"') + rows(cell("folded"), attributes='hidden="1" outlineLevel="1"')
    assert sheet_text(book(columns + data(line, further))) == "S1\na\td\te\nfolded\n\n"


def test_rows_that_a_filter_hides_are_read() -> None:
    hidden = data(rows(cell("a")), rows(cell("filtered"), attributes='hidden="1"'))
    mark = '<autoFilter ref="A1:A2">{}</autoFilter>'
    assert sheet_text(book(hidden + mark.format('<filterColumn colId="0"/>'))) == "S1\na\nfiltered\n\n"
    assert sheet_text(book(hidden + mark.format(""))) == "S1\na\n\n"


def test_strict_workbooks() -> None:
    line = rows(cell("a"), '<c t="s"><v>0</v></c>')
    assert sheet_text(book(data(line), strings="<si><t>shared</t></si>", strict=True)) == "S1\na\tshared\n\n"


def test_strings_in_pieces_and_without_their_phonetic_guides() -> None:
    guide = '<rPh sb="0" eb="1"><t>no</t></rPh>'
    line = rows('<c t="s"><v>0</v></c>', f"<c t='inlineStr'><is><r><t>in</t></r><r><t>line</t></r>{guide}</is></c>")
    strings = f"<si><r><t xml:space='preserve'>a </t></r><r><t>b_x000A_c</t></r>{guide}</si>"
    assert sheet_text(book(data(line), strings=strings)) == "S1\na b\nc\tinline\n\n"


def test_stored_values_of_each_type() -> None:
    stored = [("str", "cached"), ("e", "#N/A"), ("b", "1"), ("n", "2.5"), ("d", "2024-03-05"), ("n", "abc"), ("s", "9")]
    line = rows(
        *(f'<c t="{kind}"><f>1</f><v>{value}</v></c>' for kind, value in stored), "<c><f>1</f></c>", cell("end")
    )
    assert sheet_text(book(data(line))) == "S1\ncached\t#N/A\tTRUE\t2.5\t2024-03-05\tabc\t\t\tend\n\n"


def test_faults_in_styles_and_rules_leave_the_text() -> None:
    rules = '<conditionalFormatting sqref="A1"><cfRule type="nonsense" priority="x"/></conditionalFormatting>'
    styles = '<fonts><font><sz val="x"/></font></fonts><cellXfs><xf numFmtId="14"/><xf numFmtId="200"/></cellXfs>'
    line = rows(
        '<c s="0"><v>45000</v></c>', '<c s="1"><v>3</v></c>', '<c s="7"><v>4</v></c>', '<c s="x"><v>1e999</v></c>'
    )
    assert sheet_text(book(data(line) + rules, styles=styles)) == "S1\n2023-03-15\t3\t4\t1e999\n\n"


def test_far_cells_do_not_make_long_lines() -> None:
    line = rows(cell("a", "A1"), cell("far", "XFD1"), cell("b", "ZZZZ1"))
    assert sheet_text(book(data(line))) == f"S1\na{chr(9) * workbook.MAX_GAP}far\tb\n\n"
