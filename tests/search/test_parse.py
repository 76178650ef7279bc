"""Documents of every format, parsed in the sandbox and in a process that limits itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import psutil
import pytest

from service.search.base import IndexingFailure
from service.search.parse.child_process import ChildProcessRunner
from service.search.parse.parser import AT_ONCE, EMPTY, RESERVED, ParsedText, Parser
from service.search.parse.types import FORMATS
from tests.fake_search_engine import WAIT_S
from tests.helper_ids import has_own_id
from tests.search import sample_documents
from tests.search.conftest import reader

POEM = "Half past six the bridge goes up,\n\tslowly, naïvely – “creaking”.\r\n日本 🙂\n"
TABLE = [["Spring tide", "4.2 m"], ["Neap tide", "2.9 m"]]


@pytest.fixture(params=[pytest.param("sandbox", marks=pytest.mark.sandbox), "child process"])
def parser(request: pytest.FixtureRequest) -> Parser:
    if request.param == "sandbox":
        return Parser(request.getfixturevalue("sandbox_runner"))
    return Parser(ChildProcessRunner())


async def texts(parser: Parser, filename: str, data: bytes) -> list[ParsedText]:
    return [piece async for piece in parser.parse(filename, len(data), reader(data))]


async def text(parser: Parser, filename: str, data: bytes) -> str:
    return "".join(piece.text for piece in await texts(parser, filename, data))


async def failure(parser: Parser, filename: str, data: bytes) -> tuple[str, str]:
    with pytest.raises(IndexingFailure) as caught:
        await texts(parser, filename, data)
    return caught.value.code, caught.value.message


async def test_the_process_that_reads_a_file_has_an_id_of_its_own() -> None:
    before = set(psutil.Process().children())
    at_work = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"text"
        at_work.set()
        await asyncio.Event().wait()

    reading = asyncio.ensure_future(anext(Parser(ChildProcessRunner()).parse("a.txt", 10, slow)))
    await at_work.wait()
    [process] = set(psutil.Process().children()) - before
    async with asyncio.timeout(WAIT_S):
        while not has_own_id(process.pid):  # it changes its id when it has loaded its modules
            await asyncio.sleep(0.01)
    reading.cancel()
    await asyncio.wait({reading})


def test_all_formats_of_the_api_are_supported() -> None:
    documented = (
        ".c .cpp .cs .css .doc .docx .go .html .java .js .json .md .pdf .php .pptx .py .rb .sh .tex .ts .txt .xlsx .csv"
    )
    assert set(documented.split()) <= set(FORMATS)


@pytest.mark.slow
@pytest.mark.parametrize("ending", sorted(ending for ending, file_format in FORMATS.items() if file_format == "text"))
async def test_text_is_unchanged(ending: str) -> None:
    assert await text(Parser(ChildProcessRunner()), f"Poem{ending.upper()}", POEM.encode()) == POEM


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32", "cp1252"])
async def test_other_encodings(parser: Parser, encoding: str) -> None:
    words = "Über die Brücke, die “knarzt”, fährt früh um sechs niemand außer dem Wärter. " * 5
    assert await text(parser, "words.txt", words.encode(encoding)) == words


@pytest.mark.slow
@pytest.mark.parametrize(
    ("encoding", "words"),
    [
        ("cp1252", "L'été dernier, nous avons visité le château près de la rivière. C'était très agréable."),
        ("cp1250", "Příliš žluťoučký kůň úpěl ďábelské ódy. Nechť již hříšné saxofony ďáblů rozezvučí síň."),
        ("cp1251", "Съешь же ещё этих мягких французских булок, да выпей чаю."),
    ],
)
async def test_short_texts_of_one_byte_a_letter(parser: Parser, encoding: str, words: str) -> None:
    assert await text(parser, "words.txt", words.encode(encoding)) == words


async def test_word(parser: Parser) -> None:
    found = await text(
        parser, "a.docx", sample_documents.word(["Harbour notice", "The drawbridge opens at six."], TABLE)
    )
    assert (
        found
        == "Harbour notice\nThe drawbridge opens at six.\nSpring tide\t4.2 m\nNeap tide\t2.9 m\nAfter the table.\n"
    )


async def test_word_documents_before_2007(parser: Parser) -> None:
    found = await text(parser, "letter.DOC", sample_documents.LETTER.read_bytes())
    assert "Harbour notice 17\n" in found
    assert "Ships’ masters who need it at other times – naïve hopes aside – call the warden, Ms Ødegård" in found
    assert all(value in found for row in TABLE for value in row)


async def test_slides_have_page_numbers(parser: Parser) -> None:
    found = await texts(parser, "talk.pptx", sample_documents.slides(["Bridges", "", "Tides"]))
    assert [(piece.text, piece.page) for piece in found] == [
        ("Bridges\nA note on bridges\n\n", 1),
        ("\nA note on \n\n", 2),
        ("Tides\nA note on tides\n\n", 3),
    ]


@pytest.mark.slow
async def test_sheets(parser: Parser) -> None:
    rows: list[list[object]] = [
        ["Tide", "Height", None, "Measured"],
        ["Spring", 4.2, None, True],
        [],
        [None, None, "alone"],
    ]
    found = await text(parser, "tides.xlsx", sample_documents.sheet(rows))
    assert found == "Tides\nTide\tHeight\t\tMeasured\nSpring\t4.2\t\tTRUE\n\t\talone\n\n"


async def test_pdf_pages_have_numbers(parser: Parser) -> None:
    found = await texts(parser, "a.pdf", sample_documents.pdf(["The first page", "", "The third page"]))
    assert [(piece.text.strip(), piece.page) for piece in found] == [("The first page", 1), ("The third page", 3)]


async def test_html_yields_the_visible_text(parser: Parser) -> None:
    page = (
        "<!doctype html><title>Bridge  hours</title><style>p {}</style><body><h1>Hours</h1><p>From <b>six</b> to\nnine"
        "<br>daily<script>alert(1)</script><table><tr><th>Tide<td>4.2&nbsp;m</table><pre>a\n  b</pre><p hidden>x</p>y"
    )
    assert await text(parser, "page.html", page.encode()) == (
        "Bridge hours\n\nHours\nFrom six to nine\ndaily\nTide\t4.2 m\na\n  b\ny\n"
    )


@pytest.mark.slow
async def test_characters_that_postgres_rejects_are_replaced(parser: Parser) -> None:
    assert await text(parser, "a.txt", b"one and\0 a two") == "one and\ufffd a two"
    utf16 = "\ud800three".encode("utf-16-le", "surrogatepass")
    assert "three" in await text(parser, "b.txt", b"\xff\xfe" + utf16)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("filename", "data"),
    [
        ("a.txt", b""),
        ("a.md", b" \n\t\n " * 1000),
        ("a.html", b"<html><body><script>only(code)</script></body></html>"),
        ("a.docx", sample_documents.word([])),
        ("a.pptx", sample_documents.slides([])),
        ("a.pdf", sample_documents.pdf(["", ""])),
    ],
)
async def test_a_file_without_text_is_an_error(parser: Parser, filename: str, data: bytes) -> None:
    assert await failure(parser, filename, data) == ("invalid_file", EMPTY)


@pytest.mark.parametrize("filename", ["a.exe", "archive.zip", "noending", "photo.png", "", "a.", ".docx.bak"])
async def test_other_formats_are_rejected_unread(filename: str) -> None:
    def never() -> AsyncIterator[bytes]:
        raise AssertionError("the file must not be read")

    with pytest.raises(IndexingFailure) as caught:
        await anext(Parser(ChildProcessRunner()).parse(filename, 10, never))
    assert caught.value.code == "unsupported_file"
    assert ".pptx" in caught.value.message


async def test_an_error_of_the_reader_is_raised(parser: Parser) -> None:
    async def failing_read() -> AsyncIterator[bytes]:
        yield b"half a "
        raise OSError("the disk failed")

    with pytest.raises(OSError, match="the disk failed"):
        [piece async for piece in parser.parse("a.txt", 100, failing_read)]


async def test_closing_the_generator_ends_the_process(parser: Parser) -> None:
    data = b"line\n" * 4_000_000
    pieces = parser.parse("a.txt", len(data), reader(data))
    assert (await anext(pieces)).text.startswith("line\n")
    await pieces.aclose()
    assert await text(parser, "b.txt", b"the next file has its turn") == "the next file has its turn"


async def test_files_of_a_flow_do_not_hold_up_another_flow() -> None:
    parser = Parser(ChildProcessRunner())
    data, started = b"line\n" * 65_536, asyncio.Semaphore(0)

    async def hold_a_process() -> None:
        async with aclosing(parser.parse("a.txt", len(data), reader(data), flow="proj_a large")) as pieces:
            async for _ in pieces:
                started.release()
                await asyncio.Event().wait()

    holding = [asyncio.create_task(hold_a_process()) for _ in range(6)]
    try:
        for _ in range(AT_ONCE - RESERVED):
            await asyncio.wait_for(started.acquire(), WAIT_S)
        async with asyncio.timeout(WAIT_S):
            found = [piece.text async for piece in parser.parse("b.txt", 5, reader(b"words"), flow="proj_a small")]
        assert "".join(found) == "words"
        assert started.locked(), "no further file of the busy flow was started"
    finally:
        for task in holding:
            task.cancel()
        await asyncio.wait(holding)
