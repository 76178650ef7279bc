"""Documents for tests: valid documents, and documents that attack their parsers."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import docx
import openpyxl
import pptx
from docx.table import _Cell

LETTER = Path(__file__).parent / "documents" / "letter.doc"  # written by LibreOffice 7.4
_DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"
_RELATION = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument"
_WORDS = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'


def word(paragraphs: Iterable[str], table: Iterable[Iterable[str]] = ()) -> bytes:
    document = docx.Document()
    for text in paragraphs:
        document.add_paragraph(text)
    rows = [list(row) for row in table]
    if rows:
        cells = document.add_table(rows=len(rows), cols=len(rows[0]))
        for y, row in enumerate(rows):
            for x, text in enumerate(row):
                cells.cell(y, x).text = text
        document.add_paragraph("After the table.")
    return _save(document)


def nested_tables(depth: int) -> bytes:
    document = docx.Document()
    cell: _Cell = document.add_table(rows=1, cols=1).cell(0, 0)
    for _ in range(depth):
        cell = cell.add_table(rows=1, cols=1).cell(0, 0)
    cell.text = "the innermost"
    return _save(document)


def slides(texts: Iterable[str]) -> bytes:
    document = pptx.Presentation()
    for text in texts:
        slide = document.slides.add_slide(document.slide_layouts[5])
        assert slide.shapes.title is not None
        slide.shapes.title.text = text
        notes = slide.notes_slide.notes_text_frame
        assert notes is not None
        notes.text = f"A note on {text.lower()}"
    return _save(document)


def sheet(rows: Iterable[Iterable[object]], title: str = "Tides") -> bytes:
    document = openpyxl.Workbook()
    document.active.title = title
    for row in rows:
        document.active.append(list(row))
    return _save(document)


def pdf(
    pages: Iterable[str],
    *,
    stream: bytes | None = None,
    count: int | None = None,
    annotations: Iterable[str] = (),
    form: bool = False,
) -> bytes:
    """Returns a PDF with one line on each page.

    `stream`, deflated, replaces the drawing commands of every page; `count` replaces the declared number of pages.
    `annotations` are the dictionaries of every page's annotations; `form` makes them the fields of a form.
    """
    fields = " ".join(f"<< /Type /Annot /P 4 0 R {each} >>" for each in annotations)
    catalog = f" /AcroForm << /Fields [{fields}] /DA (/F1 0 Tf 0 g) >>" if form else ""
    texts = list(pages)
    kids = " ".join(f"{4 + 2 * n} 0 R" for n in range(len(texts)))
    objects = [
        f"<< /Type /Catalog /Pages 2 0 R{catalog} >>".encode(),
        f"<< /Type /Pages /Kids [{kids}] /Count {len(texts) if count is None else count} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for n, text in enumerate(texts):
        commands = stream or zlib.compress(f"BT /F1 18 Tf 72 700 Td ({text}) Tj ET".encode("latin-1"))
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {5 + 2 * n} 0 R /Annots [{fields}]"
            " /Resources << /Font << /F1 3 0 R >> >> >>".encode()
        )
        header = f"<< /Length {len(commands)} /Filter /FlateDecode >>\nstream\n".encode()
        objects.append(header + commands + b"\nendstream")
    data, offsets = bytearray(b"%PDF-1.7\n"), []
    for n, body in enumerate(objects, 1):
        offsets.append(len(data))
        data += f"{n} 0 obj\n".encode() + body + b"\nendobj\n"
    start = len(data)
    data += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n".encode()
    data += b"".join(f"{offset:010} 00000 n \n".encode() for offset in offsets)
    data += f"trailer << /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n".encode()
    return bytes(data)


def deflated_zeros(size: int) -> bytes:
    """Returns about `size` / 1000 bytes that inflate to `size` zeros."""
    squeeze = zlib.compressobj(9)
    block = bytes(1 << 20)
    return b"".join(squeeze.compress(block) for _ in range(size >> 20)) + squeeze.flush()


def archive(members: Mapping[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as zip_file:
        for name, data in members.items():
            zip_file.writestr(name, data)
    return file.getvalue()


def docx_of(document: bytes) -> bytes:
    """Returns a .docx with the main part `document`."""
    types = (
        '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Override PartName="/word/document.xml" ContentType="{_DOCX}"/></Types>'
    )
    relations = (
        '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
        f'<Relationship Id="r1" Type="{_RELATION}" Target="word/document.xml"/></Relationships>'
    )
    members = {"[Content_Types].xml": types.encode(), "_rels/.rels": relations.encode(), "word/document.xml": document}
    return archive(members)


def billion_laughs() -> bytes:
    """Returns XML with entities that expand to 10⁹ words."""
    lines = ['<!ENTITY a0 "ha ">', *(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10))]
    return (
        f'<?xml version="1.0"?><!DOCTYPE d [{"".join(lines)}]>'
        f"<w:document {_WORDS}><w:body><w:p><w:r><w:t>&a9;</w:t></w:r></w:p></w:body></w:document>"
    ).encode()


def replace_member(document: bytes, name: str, data: bytes) -> bytes:
    """Returns the archive with `data` as its member `name`."""
    with zipfile.ZipFile(io.BytesIO(document)) as original:
        return archive({**{member: original.read(member) for member in original.namelist()}, name: data})


def _save(document: object) -> bytes:
    file = io.BytesIO()
    document.save(file)  # type: ignore[attr-defined]  # all three libraries have this method
    return file.getvalue()
