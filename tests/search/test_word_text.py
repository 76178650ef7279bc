"""The text of Word documents: all that a reader sees in Word, once, in reading order, and nothing that is deleted."""

from __future__ import annotations

import io

import pytest

from service.search.parse import docx
from tests.search.word_documents import STRICT, box, document, field, paragraph, run, table

KEPT = run("kept")
HIDDEN_STYLES = (
    '<w:style w:styleId="Base"><w:rPr><w:vanish/></w:rPr></w:style>'
    '<w:style w:styleId="Hidden"><w:basedOn w:val="Base"/></w:style>'
)
HEADER = '<w:headerReference w:type="{}" r:id="r{}"/>'
FOOTER = '<w:footerReference w:type="{}" r:id="r{}"/>'


def text(data: bytes) -> str:
    return "".join(piece for piece, _ in docx.parse(io.BytesIO(data)))


@pytest.mark.parametrize(
    "content",
    [
        f'<w:ins w:id="1">{KEPT}</w:ins>',
        f'<w:ins w:id="1">{KEPT}<w:del w:id="2"><w:r><w:delText>dropped</w:delText></w:r></w:del></w:ins>',
        f"{KEPT}<w:del><w:r><w:t>dropped</w:t></w:r></w:del>",
        f"<w:moveFrom>{run('dropped')}</w:moveFrom><w:moveTo>{KEPT}</w:moveTo>",
        f"<w:sdt><w:sdtPr><w:alias/></w:sdtPr><w:sdtContent>{KEPT}</w:sdtContent></w:sdt>",
        f"<w:sdt><w:sdtContent><w:ins><w:sdt><w:sdtContent>{KEPT}</w:sdtContent></w:sdt></w:ins></w:sdtContent></w:sdt>",
        f'<w:fldSimple w:instr="REF x">{KEPT}</w:fldSimple>',
        field("<w:r><w:instrText>dropped</w:instrText></w:r>", KEPT),
        field(f"<w:r><w:instrText>IF </w:instrText></w:r>{field('', run('dropped'))}", KEPT),
        f'<w:r><w:fldChar w:fldCharType="begin"/></w:r>{KEPT}',
        '<w:r><w:fldChar w:fldCharType="begin"><w:ffData><w:ddList><w:result w:val="1"/>'
        '<w:listEntry w:val="dropped"/><w:listEntry w:val="kept"/></w:ddList></w:ffData>'
        '</w:fldChar></w:r><w:r><w:fldChar w:fldCharType="end"/></w:r>',
        f"<w:smartTag><w:smartTagPr/>{KEPT}</w:smartTag>",
        f"<w:customXml>{KEPT}</w:customXml>",
        f"<w:hyperlink>{KEPT}</w:hyperlink>",
        f"<w:dir><w:bdo>{KEPT}</w:bdo></w:dir>",
        run("dropped", "<w:vanish/>") + run("kept", '<w:vanish w:val="0"/>'),
        "<m:oMath><m:r><m:t>kept</m:t></m:r></m:oMath>",
        run("dropped", '<w:rStyle w:val="Hidden"/>') + run("kept", '<w:rStyle w:val="Hidden"/><w:vanish w:val="0"/>'),
        '<w:r><w:sym w:font="x" w:char="zz"/><w:sym w:font="x" w:char="FFFFFFFF"/><w:sym w:char="D800"/></w:r>' + KEPT,
        '<w:r><w:fldChar w:fldCharType="begin"/></w:r><w:r><w:instrText>MACROBUTTON Name </w:instrText></w:r>'
        '<w:r><w:instrText>kept</w:instrText></w:r><w:r><w:fldChar w:fldCharType="end"/></w:r>',
        '<w:r><w:t>ke</w:t><w:softHyphen/><w:t>pt</w:t><w:sym w:font="Wingdings" w:char="F04A"/></w:r>',
        f'<mc:AlternateContent><mc:Choice Requires="x">{run("dropped")}</mc:Choice><mc:Fallback>{KEPT}</mc:Fallback>'
        "</mc:AlternateContent>",
    ],
)
def test_inline_content(content: str) -> None:
    styles = {"styles.xml": ("styles", f"<w:styles>{HIDDEN_STYLES}</w:styles>")}
    assert text(document(paragraph(run("The "), content, run(" words")), parts=styles)) == "The kept words\n"


def test_breaks_and_formulas() -> None:
    marks = "<w:r><w:t>a</w:t><w:tab/><w:t>b</w:t><w:br/><w:t>c</w:t><w:noBreakHyphen/><w:t>d</w:t></w:r>"
    assert text(document(paragraph(marks))) == "a\tb\nc-d\n"
    letter = "<m:r><m:t>{}</m:t></m:r>"
    fraction = f"<m:f><m:num>{letter.format('x')}</m:num><m:den>{letter.format('y')}</m:den></m:f>"
    assert text(document(paragraph(f"<m:oMathPara><m:oMath>{fraction}</m:oMath></m:oMathPara>"))) == "x/y\n"


def part(name: str, *content: str) -> str:
    return f"<m:{name}>{''.join(content)}</m:{name}>"


def letter(text: str) -> str:
    return part("r", part("t", text))


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        (
            part("nary", "<m:naryPr><m:chr m:val='∑'/></m:naryPr>", part("sub", letter("i=1")), part("e", letter("x"))),
            "∑_i=1x",
        ),
        (part("nary", part("sub", letter("0")), part("sup", letter("1")), part("e", letter("x"))), "∫_0^1x"),
        (part("d", part("e", letter("x")), part("e", letter("y"))), "(x|y)"),
        (part("d", "<m:dPr><m:begChr m:val='['/><m:endChr m:val=''/></m:dPr>", part("e", letter("x"))), "[x"),
        (part("func", part("fName", letter("sin")), part("e", letter("y"))), "sin y"),
        (part("m", *[part("mr", part("e", letter(a)), part("e", letter(b))) for a, b in ("ab", "cd")]), "a b; c d"),
        (part("limLow", part("e", letter("lim")), part("lim", letter("x→0"))), "lim_x→0"),
        (part("acc", part("e", letter("x"))), "x\u0302"),
        (part("rad", part("e", letter("2"))) + "<w:del>" + letter("dropped") + "</w:del>", "√2"),
    ],
)
def test_marks_of_formulas(formula: str, expected: str) -> None:
    assert text(document(paragraph(part("oMath", formula)))) == f"{expected}\n"


def test_letters_of_symbol_fonts() -> None:
    symbol = '<w:r><w:sym w:font="{}" w:char="{}"/></w:r>'
    marks = symbol.format("Symbol", "F061") + symbol.format("Wingdings", "F0FE") + symbol.format("Webdings", "F061")
    typed = run("\uf0b3 4", '<w:rFonts w:ascii="Symbol"/>')
    assert text(document(paragraph(marks, typed))) == "α☑≥ 4\n"


def test_fields_without_a_result() -> None:
    code = '<w:r><w:fldChar w:fldCharType="begin"/></w:r><w:r><w:instrText>{}</w:instrText></w:r>'
    code += '<w:r><w:fldChar w:fldCharType="end"/></w:r>'
    guide = code.format(' EQ \\* jc2 \\* "Font:MS Mincho" \\* hps10 \\o\\ad(\\s\\up 9(とう),東) ')
    assert text(document(paragraph(guide, run("京タワー")))) == "東京タワー\nとう\n"
    others = code.format("SYMBOL 945 \\u") + code.format("SYMBOL 0x61 \\f Symbol") + code.format(" EQ \\f(1;2)")
    assert text(
        document(paragraph(others + code.format("SYMBOL x") + code.format("XE dropped") + code.format("")))
    ) == ("αα1 2\n")


def test_ruby_bases_stay_whole_words() -> None:
    ruby = "<w:r><w:ruby><w:rt>{}</w:rt><w:rubyBase>{}</w:rubyBase></w:ruby></w:r>"
    content = [ruby.format(run("とう"), run("東")), ruby.format(run("きょう"), run("京"))]
    assert text(document(paragraph(*content, run("タワー")))) == "東京タワー\nとう\nきょう\n"


def test_text_boxes_are_read_once_after_their_paragraph() -> None:
    nested = box("outer").replace("</w:p>", f"{box('inner')}</w:p>", 1)
    assert text(document(paragraph(run("be"), nested, run("fore")) + paragraph(run("after")))) == (
        "before\nouter\ninner\nafter\n"
    )
    group = "<w:r><w:drawing><wpg:wgp><wpg:grpSp><wps:wsp><wps:txbx><w:txbxContent>{}</w:txbxContent></wps:txbx>"
    group += "</wps:wsp></wpg:grpSp></wpg:wgp></w:drawing></w:r>"
    assert text(document(paragraph(group.format(table([paragraph(run("a")), paragraph(run("b"))]))))) == "\na\tb\n"
    art = '<w:r><w:pict><v:shape><v:textpath string="CONFIDENTIAL"/></v:shape></w:pict></w:r>'
    assert text(document(paragraph(art))) == "\nCONFIDENTIAL\n"


def test_blocks_in_containers() -> None:
    control = "<w:sdt><w:sdtContent>{}</w:sdtContent></w:sdt>"
    inner = paragraph(run("kept"))
    assert text(document(control.format(control.format(inner)))) == "kept\n"
    assert text(document(f"<w:customXml>{inner}</w:customXml><w:ins>{inner}</w:ins><w:del>{inner}</w:del>")) == (
        "kept\nkept\n"
    )
    for mark in (
        "<w:rPr><w:del/></w:rPr>",
        "<w:rPr><w:vanish/><w:specVanish/></w:rPr>",
        '<w:framePr w:dropCap="drop"/>',
    ):
        joined = paragraph(run("o"), properties=mark) + paragraph(run("ne line"))
        assert text(document(joined)) == "one line\n"
    deleted = paragraph(run("before"), properties="<w:rPr><w:del/></w:rPr>")
    assert text(document(deleted + table([inner]) + inner)) == "before\nkept\nkept\n"
    styles = {"styles.xml": ("styles", f"<w:styles>{HIDDEN_STYLES}</w:styles>")}
    hidden = paragraph(run("dropped"), properties='<w:pStyle w:val="Hidden"/>')
    assert text(document(hidden + inner, parts=styles)) == "\nkept\n"


def test_tables() -> None:
    cell = paragraph(run("a")), paragraph(run("b"))
    row = "<w:tr><w:trPr>{}</w:trPr><w:tc>{}</w:tc></w:tr>"
    controlled = f"<w:sdt><w:sdtContent>{row.format('', cell[1])}</w:sdtContent></w:sdt>"
    deleted = row.format("<w:del/>", paragraph(run("dropped"))) + row.format("<w:hidden/>", paragraph(run("dropped")))
    tables = f"<w:tbl>{row.format('<w:ins/>', cell[0])}{deleted}{controlled}</w:tbl>"
    assert text(document(tables)) == "a\nb\n"
    nested = table([table([cell[0], cell[1]]) + paragraph(run("c"), box("boxed")), cell[0]])
    assert text(document(nested)) == "a b c\ta\nboxed\n"


def test_notes_and_comments_follow_their_paragraph_once() -> None:
    note = '<w:{0} w:id="{1}">' + paragraph(run("{2}")) + "</w:{0}>"
    footnotes = note.format("footnote", 2, "foot") + note.format("footnote", 3, "unused")
    notes = {
        "footnotes.xml": ("footnotes", f"<w:footnotes>{footnotes}</w:footnotes>"),
        "endnotes.xml": ("endnotes", f"<w:endnotes>{note.format('endnote', 2, 'end')}</w:endnotes>"),
        "comments.xml": ("comments", f"<w:comments>{note.format('comment', 0, 'remark')}</w:comments>"),
    }
    marks = '<w:r><w:footnoteReference w:id="2"/><w:endnoteReference w:id="2"/><w:commentReference w:id="0"/></w:r>'
    body = paragraph(run("one"), marks) + paragraph(run("two"), marks)
    assert text(document(body, parts=notes)) == "one\nfoot\nremark\ntwo\nend\n"
    assert text(document(table([paragraph(run("cell"), marks)]), parts=notes)) == "cell\nfoot\nremark\nend\n"


def test_headers_and_footers_of_sections() -> None:
    edges = ("header 1", "footer 1", "first header", "even header", "header 2")
    parts = {
        f"edge{number}.xml": ("footer" if "footer" in name else "header", f"<w:hdr>{paragraph(run(name))}</w:hdr>")
        for number, name in enumerate(edges)
    }
    first = f"{HEADER.format('default', 1)}{FOOTER.format('default', 2)}{HEADER.format('even', 4)}"
    second = f"{HEADER.format('default', 5)}{HEADER.format('first', 3)}{FOOTER.format('default', 2)}"
    body = paragraph(run("one"), properties=f"<w:sectPr>{first}</w:sectPr>") + paragraph(run("two"))
    sections = body + "<w:sectPr>{}</w:sectPr>"
    assert text(document(sections.format(second), parts=parts)) == "header 1\none\nfooter 1\nheader 2\ntwo\n"
    shown = document(sections.format(second + "<w:titlePg/>"), parts=parts, settings="<w:evenAndOddHeaders/>")
    assert text(shown) == "header 1\neven header\none\nfooter 1\nheader 2\nfirst header\ntwo\n"


def test_sections_have_the_headers_of_the_section_before() -> None:
    parts = {"edge.xml": ("header", f"<w:hdr>{paragraph(run('first header'))}</w:hdr>")}
    before = paragraph(run("one"), properties=f"<w:sectPr>{HEADER.format('first', 1)}</w:sectPr>")
    shown = document(f"{before}{paragraph(run('two'))}<w:sectPr><w:titlePg/></w:sectPr>", parts=parts)
    assert text(shown) == "one\nfirst header\ntwo\n"


def test_charts_and_diagrams() -> None:
    points = "<c:strCache><c:pt><c:v>{}</c:v></c:pt></c:strCache>"
    chart = (
        "<c:chartSpace><c:chart><c:title><a:p><a:r><a:t>Tides</a:t></a:r></a:p></c:title><c:ser>"
        f"<c:tx><c:strRef>{points.format('Height')}</c:strRef></c:tx><c:cat>{points.format('Spring')}</c:cat>"
        "<c:val><c:numCache><c:pt><c:v>4.2</c:v></c:pt></c:numCache></c:val></c:ser></c:chart></c:chartSpace>"
    )
    point = '<dgm:pt modelId="{0}" type="{1}"><dgm:t><a:p><a:r><a:t>{0}</a:t></a:r></a:p></dgm:t></dgm:pt>'
    link = '<dgm:cxn srcId="{}" destId="{}" srcOrd="{}"/>'
    nodes = "".join(point.format(name, "node") for name in ("second", "first", "child"))
    links = link.format("top", "first", 0) + link.format("top", "second", 1) + link.format("first", "child", 0)
    diagram = f'<dgm:dataModel><dgm:ptLst><dgm:pt modelId="top" type="doc"/>{nodes}</dgm:ptLst>{links}</dgm:dataModel>'
    parts = {"chart.xml": ("chart", chart), "data.xml": ("diagramData", diagram.replace('srcOrd="0"', 'srcOrd="x"', 1))}
    content = '<w:r><w:drawing><c:chart r:id="r1"/><dgm:relIds r:dm="r2"/></w:drawing></w:r>'
    assert text(document(paragraph(content, content), parts=parts)) == "\nTides\nHeight\nSpring\nfirst\nchild\nsecond\n"


def test_imported_documents() -> None:
    archive = (
        'Content-Type: multipart/related; boundary="b"\n\n--b\nContent-Type: text/html; charset="iso-8859-2"\n'
        "Content-Transfer-Encoding: quoted-printable\n\n<p>=A3=F3d=BC</p>\n"
        "--b\nContent-Type: image/png\n\nx\n--b--\n"
    )
    imported = document('<w:altChunk r:id="r1"/>', parts={"a.mht": ("aFChunk", archive)})
    assert text(imported) == "Łódź\n\n"
    parts = {"page.html": ("aFChunk", "<p>imported page"), "a.txt": ("aFChunk", "imported text")}
    body = f'{paragraph(run("own"))}<w:altChunk r:id="r1"/><w:altChunk r:id="r2"/><w:altChunk r:id="r2"/>'
    assert text(document(body, parts=parts)) == "own\nimported page\n\nimported text\n"


def test_strict_documents() -> None:
    assert text(document(paragraph(KEPT), namespace=STRICT)) == "kept\n"


def test_one_part_that_many_relationships_name_is_read_once() -> None:
    parts = {"edge.xml": ("header", f"<w:hdr>{paragraph(KEPT)}</w:hdr>")}
    references = HEADER.format("default", 1) * 20_000
    assert text(document(f"{paragraph()}<w:sectPr>{references}</w:sectPr>", parts=parts)) == "kept\n\n"
