"""The numbers of lists and headings in Word documents, which are in no run."""

from __future__ import annotations

import io

import pytest

from service.search.parse import docx
from service.search.parse.list_numbers import MAX_LEVELS
from service.search.parse.numerals import format_number
from tests.search.word_documents import document, paragraph, run, table


def level(number: int, kind: str, text: str, more: str = "") -> str:
    return f'<w:lvl w:ilvl="{number}"><w:numFmt w:val="{kind}"/><w:lvlText w:val="{text}"/>{more}</w:lvl>'


LEGAL = (
    level(0, "decimal", "%1.", '<w:start w:val="1"/>')
    + level(1, "lowerLetter", "%1.%2)")
    + level(2, "upperRoman", "§ %3", '<w:suff w:val="space"/>')
)


def numbering(*definitions: str, nums: str = "") -> dict[str, tuple[str, str]]:
    """Returns the part: abstract definitions from 0 up, and a list of each from 1 up."""
    abstract = "".join(
        f'<w:abstractNum w:abstractNumId="{at}">{levels}</w:abstractNum>' for at, levels in enumerate(definitions)
    )
    lists = "".join(
        f'<w:num w:numId="{at + 1}"><w:abstractNumId w:val="{at}"/></w:num>' for at in range(len(definitions))
    )
    return {"numbering.xml": ("numbering", f"<w:numbering>{abstract}{lists}{nums}</w:numbering>")}


def item(words: str, at: int = 0, of: int = 1) -> str:
    return paragraph(run(words), properties=f'<w:numPr><w:ilvl w:val="{at}"/><w:numId w:val="{of}"/></w:numPr>')


def lines(body: str, parts: dict[str, tuple[str, str]]) -> list[str]:
    data = document(body, parts=parts)
    return "".join(piece for piece, _ in docx.parse(io.BytesIO(data))).splitlines()


def test_levels_count_and_begin_again() -> None:
    body = item("a") + item("b", 1) + item("c", 1) + item("d", 2) + item("e") + item("f", 1) + paragraph(run("g"))
    assert lines(body, numbering(LEGAL)) == ["1. a", "1.a) b", "1.b) c", "§ I d", "2. e", "2.a) f", "g"]


def test_lists_that_share_a_definition_go_on_unless_they_say_where_they_start() -> None:
    nums = '<w:num w:numId="8"><w:abstractNumId w:val="0"/></w:num>'
    nums += '<w:num w:numId="9"><w:abstractNumId w:val="0"/><w:lvlOverride w:ilvl="0"><w:startOverride w:val="5"/>'
    nums += "</w:lvlOverride></w:num>"
    body = item("a") + item("b", of=8) + item("c", of=9) + item("d", of=9)
    assert lines(body, numbering(LEGAL, nums=nums)) == ["1. a", "2. b", "5. c", "6. d"]


def test_numbers_of_styles() -> None:
    styles = '<w:styles><w:style w:styleId="H1"><w:pPr><w:numPr><w:numId w:val="1"/></w:numPr></w:pPr></w:style>'
    styles += '<w:style w:styleId="H2"><w:basedOn w:val="H1"/><w:pPr><w:numPr><w:ilvl w:val="1"/></w:numPr></w:pPr>'
    styles += '</w:style><w:style w:styleId="Loop"><w:basedOn w:val="Loop"/></w:style></w:styles>'
    parts = numbering(LEGAL) | {"styles.xml": ("styles", styles)}
    style = '<w:pStyle w:val="{}"/>'
    body = paragraph(run("a"), properties=style.format("H1")) + paragraph(run("b"), properties=style.format("H2"))
    body += paragraph(run("c"), properties=style.format("H1") + '<w:numPr><w:numId w:val="0"/></w:numPr>')
    body += paragraph(run("d"), properties=style.format("Loop")) + paragraph(run("e"), properties=style.format("H1"))
    assert lines(body, parts) == ["1. a", "1.a) b", "c", "d", "2. e"]


def test_a_definition_that_is_a_style_of_lists() -> None:
    styles = (
        '<w:styles><w:style w:styleId="L"><w:pPr><w:numPr><w:numId w:val="2"/></w:numPr></w:pPr></w:style></w:styles>'
    )
    parts = numbering('<w:numStyleLink w:val="L"/>', LEGAL) | {"styles.xml": ("styles", styles)}
    assert lines(item("a") + item("b"), parts) == ["1. a", "2. b"]


def test_bullets_and_deleted_items_have_no_number() -> None:
    deleted = paragraph(
        f"<w:del>{run('x')}</w:del>",
        properties='<w:numPr><w:ilvl w:val="0"/><w:numId w:val="1"/></w:numPr><w:rPr><w:del/></w:rPr>',
    )
    parts = numbering(LEGAL, level(0, "bullet", "•"))
    assert lines(item("a") + deleted + item("b") + item("c", of=2), parts) == ["1. a", "2. b", "c"]


def test_numbers_in_cells_and_legal_numbers() -> None:
    parts = numbering(level(0, "upperRoman", "Article %1") + level(1, "decimal", "%1.%2", "<w:isLgl/>"))
    body = item("a") + table([item("b", 1), item("c", 1)])
    assert lines(body, parts) == ["Article I a", "1.1 b\t1.2 c"]


@pytest.mark.parametrize(
    ("kind", "texts"),
    [
        ("decimal", {1: "1", 12: "12"}),
        ("decimalZero", {1: "01", 12: "12"}),
        ("lowerRoman", {4: "iv", 1994: "mcmxciv", 5000: "5000"}),
        ("upperLetter", {1: "A", 26: "Z", 27: "AA", 54: "BBB"}),
        ("ordinal", {1: "1st", 2: "2nd", 11: "11th", 23: "23rd"}),
        ("chineseCounting", {3: "三", 10: "十", 21: "二十一"}),
        ("decimalEnclosedCircle", {1: "①", 20: "⑳", 21: "21"}),
        ("russianLower", {1: "а", 3: "в"}),
        ("none", {1: ""}),
        ("unheardOf", {7: "7"}),
    ],
)
def test_formats(kind: str, texts: dict[int, str]) -> None:
    assert {number: format_number(kind, number) for number in texts} == texts


def test_wrong_numbers_are_ignored() -> None:
    assert lines(item("a", MAX_LEVELS) + item("b", of=77), numbering(LEGAL)) == ["a", "b"]
    broken = level(0, "decimal", "%1.").replace('w:ilvl="0"', 'w:ilvl="x"') + level(0, "decimal", "%1.%9")
    assert lines(item("a"), numbering(broken))[0].endswith("a")
