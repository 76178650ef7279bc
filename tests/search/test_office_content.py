r"""Documents whose bytes are of another format than their ending: RTF, web pages, XML of Office, renamed documents."""

from __future__ import annotations

import io
import zipfile

import pytest

from service.search.parse.child_process import ChildProcessRunner
from service.search.parse.office_content import find_reader
from service.search.parse.parser import Parser
from service.search.parse.sandbox_process import SandboxRunner
from service.search.parse.types import FileFormat, UnreadableFile
from tests.search import sample_documents
from tests.search.test_parse import text

WORD_XML = "http://schemas.microsoft.com/office/word/2003/wordml"
EXCEL_XML = "urn:schemas-microsoft-com:office:spreadsheet"


def read(data: bytes, file_format: FileFormat = "doc") -> str:
    file = io.BytesIO(data)
    return "".join(piece for piece, _ in find_reader(file_format, file)(file))


def rtf(body: str | bytes, head: str = r"\ansi\ansicpg1252\deff0") -> bytes:
    return rb"{\rtf1" + head.encode() + b" " + (body.encode("latin-1") if isinstance(body, str) else body) + b"}"


@pytest.mark.parametrize(
    ("body", "seen"),
    [
        (r"One\par Two\line Three", "One\nTwo\nThree\n"),
        (r"caf\'e9 \u8364?5 \u55357?\u56832? \{a\\b\}", "café €5 😀 {a\\b}\n"),
        (r"\uc2\u233\'c3\'a9t\u233\'c3\'a9\uc0\u33 x", "été!x\n"),
        (r"{\fonttbl{\f0 Arial;}}{\colortbl;\red0;}{\stylesheet{\s0 Normal;}}{\info{\title T}}text", "text\n"),
        (r"{\fonttbl{\f0\fcharset0 A;}{\f1\fcharset204 B;}}\f1\'cf\'f0\'e8\'e2\'e5\'f2\f0  \'e9", "Привет é\n"),
        (r"{\fonttbl{\f1\fcharset128 M;}}{\f1\'93\'fa\'96\'7b}", "日本\n"),
        (r"{\*\generator W}{\field{\*\fldinst LINK}{\fldrslt link}} {\v hidden}seen{\deleted old}", "link seen\n"),
        (r"\trowd a\cell b\cell\row\trowd c\cell d\cell\row", "a\tb\nc\td\n\n"),
        (r"{\pict\pngblip 89504e470d}{\*\shppict{\pict 00ff}}after", "after\n"),
        (r"a{\footnote note}b", "a\nnote\nb\n"),
        (r"{\header Head\par}Body", "Head\nBody\n"),
        (r"x{\shp{\*\shpinst{\sp{\sn a}{\sv 1}}{\shptxt In a box\par}}}y", "x\nIn a box\ny\n"),
        ("one\r\ntwo\\\nthree", "onetwo\nthree\n"),
        (r"\bin4 {{}}after", "after\n"),
        (r"\emdash\endash\lquote a\rquote\ldblquote b\rdblquote\bullet\~\_\-c", "—–‘a’“b”• ‑c\n"),
        (r"{\listtext\pard 1.\tab}First\par{\listtext 2.\tab}Second", "1.\tFirst\n2.\tSecond\n"),
    ],
)  # fmt: skip
def test_rtf(body: str, seen: str) -> None:
    assert read(rtf(body)).replace(" \n", "\n") == seen


@pytest.mark.parametrize(
    ("head", "byte", "letter"),
    [(r"\ansi\ansicpg1250", b"\xb1", "±"), (r"\ansi\ansicpg1251", b"\xe6", "ж"), (r"\mac", b"\x8e", "é"),
     (r"\pc", b"\x82", "é"), (r"\ansi\ansicpg936", b"\xc4\xe3", "你"), (r"\ansi\ansicpg65001", b"\xc3\xa9", "é")],
)  # fmt: skip
def test_code_pages_of_rtf(head: str, byte: bytes, letter: str) -> None:
    assert read(rtf(b"a " + byte, head)) == f"a {letter}\n"


@pytest.mark.parametrize(
    "data",
    [b"{\\rtf1", b"{\\rtf1 a}}}}b", b"{\\rtf1 \\u", b"{\\rtf1 \\bin999999999 x", b"{\\rtf1 \\'zz\\u99999999999 a\\"],
)
def test_broken_rtf(data: bytes) -> None:
    assert read(data).endswith("\n")


def test_nested_rtf() -> None:
    assert read(rtf("{" * 9_000 + "deep" + "}" * 9_000)) == "deep\n"
    with pytest.raises(UnreadableFile, match="nested"):
        read(rtf("{" * 11_000))


PAGE = (
    "<html><head><title>t</title></head><body><p>Prix : 5 €</p>"
    "<table><tr><td>a</td><td>b</td></tr></table></body></html>"
)


@pytest.mark.parametrize("file_format", ["doc", "docx", "xlsx"])
@pytest.mark.parametrize(
    "data",
    [
        PAGE.encode(),
        b"\xef\xbb\xbf\r\n" + PAGE.encode(),
        PAGE.encode("utf-16"),
        b'<?xml version="1.0"?>\n<!DOCTYPE html>' + PAGE.encode(),
        b"<!-- saved -->" + PAGE.encode(),
        b"MIME-Version: 1.0\r\nContent-Type: multipart/related; boundary=x\r\n\r\n--x\r\n"
        b"Content-Type: text/html; charset=utf-8\r\n\r\n" + PAGE.encode() + b"\r\n--x--\r\n",
    ],
    ids=["page", "mark", "utf-16", "xhtml", "comment", "mhtml"],
)
def test_web_pages(data: bytes, file_format: FileFormat) -> None:
    assert read(data, file_format).split() == ["t", "Prix", ":", "5", "€", "a", "b"]


def test_plain_text() -> None:
    assert read("Größe <b>\n".encode("cp1252")) == "Größe <b>\n"
    with pytest.raises(UnreadableFile):
        read(bytes(1000))


def test_renamed_documents() -> None:
    word, sheet = sample_documents.word(["one"]), sample_documents.sheet([["one"]])
    assert read(word) == read(word, "docx") == read(word, "xlsx")
    assert read(sheet) == read(sheet, "xlsx") == read(sheet, "docx")
    letter = sample_documents.LETTER.read_bytes()
    assert read(letter, "docx") == read(letter)
    with pytest.raises(UnreadableFile, match="no xlsx file"):
        read(letter, "xlsx")


def test_word_2003_in_xml() -> None:
    data = f"""<?xml version="1.0"?><?mso-application progid="Word.Document"?>
<w:wordDocument xmlns:w="{WORD_XML}"><w:body><w:p><w:r><w:t>One</w:t><w:tab/><w:t>two</w:t></w:r></w:p>
<w:p><w:r><w:rPr><w:vanish/></w:rPr><w:t>hidden</w:t></w:r></w:p>
<w:tbl><w:tr><w:tc><w:p><w:r><w:t>a</w:t></w:r></w:p></w:tc><w:tc><w:p><w:r><w:t>b</w:t></w:r></w:p></w:tc></w:tr></w:tbl>
</w:body></w:wordDocument>"""
    assert read(data.encode()).split("\n") == ["One\ttwo", "", "a\tb", ""]


def test_a_package_in_one_xml_file() -> None:
    """Flat OPC, as Word saves it under "Word XML Document"."""
    name = "http://schemas.microsoft.com/office/2006/xmlPackage"
    parts = []
    with zipfile.ZipFile(io.BytesIO(sample_documents.word(["one", "two"]))) as archive:
        for member in archive.namelist():
            if member.endswith((".xml", ".rels")):
                xml = archive.read(member).partition(b"?>")[2].decode()
                parts.append(f'<pkg:part pkg:name="/{member}"><pkg:xmlData>{xml}</pkg:xmlData></pkg:part>')
    data = f'<?xml version="1.0"?><pkg:package xmlns:pkg="{name}">{"".join(parts)}</pkg:package>'
    assert read(data.encode()) == read(sample_documents.word(["one", "two"]))


def test_excel_2003_in_xml() -> None:
    data = f"""<?xml version="1.0"?><?mso-application progid="Excel.Sheet"?>
<Workbook xmlns="{EXCEL_XML}" xmlns:ss="{EXCEL_XML}" xmlns:x="urn:schemas-microsoft-com:office:excel">
<Worksheet ss:Name="Tides"><Table><Row><Cell><Data ss:Type="String">Spring</Data></Cell>
<Cell ss:Index="3"><Data ss:Type="Number">4.2</Data><Comment><ss:Data>a note</ss:Data></Comment></Cell></Row>
<Row ss:Hidden="1"><Cell><Data ss:Type="String">hidden</Data></Cell></Row>
<Row><Cell><Data ss:Type="DateTime">2024-01-05T00:00:00.000</Data></Cell></Row></Table></Worksheet>
<Worksheet ss:Name="Old"><Table><Row><Cell><Data ss:Type="String">hidden</Data></Cell></Row></Table>
<x:WorksheetOptions><x:Visible>SheetHidden</x:Visible></x:WorksheetOptions></Worksheet></Workbook>"""
    assert read(data.encode(), "xlsx") == "Tides\nSpring\t\t4.2 a note\n2024-01-05\n"


@pytest.mark.parametrize("data", [b"<?xml version='1.0'?><a/>", b"<w:wordDocument", b"<?xml?><Workbook progid='x'"])
def test_other_xml(data: bytes) -> None:
    with pytest.raises(UnreadableFile):
        read(data, "docx")


async def _read_them(parser: Parser) -> None:
    """The worker may read no module when it has dropped its rights."""
    for data in (rtf("one"), b"<html><body>one", sample_documents.word(["one"])):
        assert "one" in await text(parser, "letter.doc", data)


async def test_the_worker_reads_them_in_a_child_process() -> None:
    await _read_them(Parser(ChildProcessRunner()))


@pytest.mark.sandbox
async def test_the_worker_reads_them_in_the_sandbox(sandbox_runner: SandboxRunner) -> None:
    await _read_them(Parser(sandbox_runner))
