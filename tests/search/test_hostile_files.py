"""Files that attack their parser: each ends soon, either with an IndexingFailure or with its text."""

from __future__ import annotations

import random
import struct
import zlib

import pytest

from service.search.base import IndexingFailure, IndexingInterrupted
from service.search.parse import parser as limits
from service.search.parse.child_process import ChildProcessRunner
from service.search.parse.parser import Parser
from service.search.parse.sandbox_process import SandboxRunner
from tests.search import sample_documents
from tests.search.test_parse import failure, text

SHEET = (
    '<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><dimension ref="A1:XFD1048576"/>'
    "<sheetData>%s</sheetData></worksheet>"
)


@pytest.fixture
def parser(sandbox_runner: SandboxRunner, monkeypatch: pytest.MonkeyPatch) -> Parser:
    """A parser with five seconds of CPU time, so that a file which takes more of it than it may ends a test soon."""
    monkeypatch.setattr(limits, "CPU_S", 5)
    return Parser(sandbox_runner)


async def outcome(parser: Parser, filename: str, data: bytes) -> tuple[str, str]:
    """Returns "text" and the text, or the code and the message of the failure."""
    try:
        return "text", await text(parser, filename, data)
    except IndexingFailure as error:
        return error.code, error.message


def rows(count: int) -> bytes:
    """Returns a sheet of rows with one cell each, in the last possible column."""
    return (
        SHEET % "".join(f'<row r="{n}"><c r="XFD{n}" t="n"><v>1</v></c></row>' for n in range(1, count + 1))
    ).encode()


def with_declared_size(document: bytes, name: str, size: int) -> bytes:
    """Returns the archive with a directory that declares `size` unpacked bytes for the member."""
    made = bytearray(document)
    at = made.rindex(name.encode(), 0, made.rindex(b"PK\x05\x06")) - 46
    assert made[at : at + 4] == b"PK\x01\x02"
    struct.pack_into("<I", made, at + 24, size)
    return bytes(made)


async def test_archives_that_unpack_to_gigabytes(parser: Parser) -> None:
    part = "word/document.xml"
    tree = sample_documents.docx_of(b"<x>" + b" " * (60 << 20))
    assert len(tree) < 1 << 20
    for name in ("a.docx", "a.pptx", "a.xlsx"):
        bomb = with_declared_size(tree, part, 600 << 20)
        assert await failure(parser, name, bomb) == ("invalid_file", "The document is too large when it is unpacked.")
    assert (await failure(parser, "a.docx", tree))[1] == "A part of the document is too large when it is unpacked."
    await failure(parser, "a.docx", with_declared_size(tree, part, 10))
    many = sample_documents.archive({f"{n}": b"" for n in range(20_001)})
    assert (await failure(parser, "a.xlsx", many))[1] == "The document is too large when it is unpacked."


async def test_entities_that_stand_for_gigabytes(parser: Parser) -> None:
    laughs = sample_documents.billion_laughs()
    deck, book = sample_documents.slides(["one"]), sample_documents.sheet([["one"]])
    for name, data in (
        ("a.docx", sample_documents.docx_of(laughs)),
        ("a.pptx", sample_documents.replace_member(deck, "ppt/slides/slide1.xml", laughs)),
        ("a.xlsx", sample_documents.replace_member(book, "xl/sharedStrings.xml", laughs)),
        ("a.xlsx", sample_documents.replace_member(book, "xl/worksheets/sheet1.xml", laughs)),
    ):
        assert len((await outcome(parser, name, data))[1]) < 1000, name


async def test_deeply_nested_documents(parser: Parser) -> None:
    assert await failure(parser, "a.docx", sample_documents.nested_tables(60)) == (
        "invalid_file",
        "The file is nested too deeply.",
    )
    assert await text(parser, "a.html", b"<b>" * 10_000 + b"the innermost") == "the innermost\n"
    message = (await outcome(parser, "a.html", b"<div>" * 300_000 + b"the innermost"))[1]
    assert message in ("the innermost\n", "The file takes more memory or time than reading a html file may.")
    assert await text(parser, "a.json", b"[" * 1_000_000) == "[" * 1_000_000


async def test_hostile_pdfs(parser: Parser) -> None:
    for data in (
        b"%PDF-1.7\n" + random.Random(1).randbytes(100_000),
        b"%PDF-",
        b"\n" * 2000 + sample_documents.pdf(["late"]),
    ):
        assert (await failure(parser, "a.pdf", data))[0] == "invalid_file"
    zeros = sample_documents.pdf(["x"], stream=sample_documents.deflated_zeros(256 << 20))
    assert len(zeros) < 1 << 20
    assert (await failure(parser, "a.pdf", zeros))[0] == "invalid_file"
    words = zlib.compress(b"BT /F1 9 Tf " + b"(word ) Tj " * 500_000 + b"ET", 9)
    result = await outcome(parser, "a.pdf", sample_documents.pdf(["x"] * 50, stream=words))
    assert result == ("invalid_file", "The file takes more memory or time than reading a pdf file may.")
    await failure(parser, "a.pdf", sample_documents.pdf(["x"]).replace(b"/Kids [4 0 R]", b"/Kids [2 0 R]"))
    await outcome(parser, "a.pdf", sample_documents.pdf(["only one"], count=1_000_000_000))


async def test_sheets_of_the_greatest_width(parser: Parser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CPU_S", 60)  # 100,000 rows take about five seconds on a slow machine
    book = sample_documents.replace_member(sample_documents.sheet([["one"]]), "xl/worksheets/sheet1.xml", rows(20))
    assert (await text(parser, "a.xlsx", book)).count("\t1\n") == 20
    book = sample_documents.replace_member(sample_documents.sheet([["one"]]), "xl/worksheets/sheet1.xml", rows(100_000))
    assert len(book) < 1 << 20
    for each in (parser, Parser(ChildProcessRunner())):
        assert (await text(each, "a.xlsx", book)).count("\t1\n") == 100_000


async def test_damaged_word_files_of_the_old_format(parser: Parser) -> None:
    letter = sample_documents.LETTER.read_bytes()
    for size in (600, 2000, len(letter) // 2):
        assert (await failure(parser, "a.doc", letter[:size]))[0] == "invalid_file"
    noise = random.Random(2)
    for _ in range(5):
        broken = bytearray(letter)
        for _ in range(200):
            broken[noise.randrange(512, len(broken))] = noise.randrange(256)
        await outcome(parser, "a.doc", bytes(broken))
    ring = bytearray(letter)
    ring[512 : len(ring) - 512] = struct.pack("<I", 1) * ((len(ring) - 1024) // 4)  # the chain of sectors is a loop
    await failure(parser, "a.doc", bytes(ring))


async def test_files_of_another_format_than_their_names(parser: Parser) -> None:
    for name in ("a.docx", "a.pptx", "a.xlsx", "a.pdf"):
        code, message = await failure(parser, name, b"just some words")
        assert (code, message) == ("invalid_file", f"The file is no {name[2:]} file, whatever its name says.")
    assert (await failure(parser, "a.pdf", sample_documents.word(["one"])))[0] == "invalid_file"
    noise = random.Random(3).randbytes(300_000)
    for name in ("a.txt", "a.csv", "a.html"):
        await outcome(parser, name, noise)
    assert (await failure(parser, "a.txt", bytes(300_000)))[1] == "The file holds no text."


async def test_more_text_than_a_file_may_hold(parser: Parser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_TEXT", 1 << 20)
    assert (await failure(parser, "a.txt", b"word " * 300_000))[1].startswith("The file holds more than")


async def test_waiting_for_a_silent_process_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MODULE", "tests.search.silent_process")
    slow = Parser(ChildProcessRunner(), wall_s=0.05)
    assert (await failure(slow, "a.txt", b"words"))[1].startswith("The file takes longer than")


async def test_a_process_that_dies_before_it_is_ready_is_worth_another_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MODULE", "tests.search.silent_process")
    with pytest.raises(IndexingInterrupted, match="could not be started"):
        await failure(Parser(ChildProcessRunner()), "a.txt", b"nothing")


@pytest.mark.parametrize("script", ["babble", "endless", "lies"])
async def test_a_process_that_was_taken_over_may_write_anything(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    monkeypatch.setattr(limits, "MODULE", "tests.search.silent_process")
    parser = Parser(ChildProcessRunner())
    data = script.encode()
    try:
        code, _ = await failure(parser, "a.txt", data)
        assert code in ("invalid_file", "server_error")
    except IndexingInterrupted:  # it never said that it is ready
        assert script != "babble"
