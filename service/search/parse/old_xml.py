"""Documents of Office in one XML file: Flat OPC, and the formats of Word 2003 and Excel 2003.

Word documents are put into a package in memory and read as .docx, since their elements have the same local names.
"""

from __future__ import annotations

import base64
import io
import zipfile
from collections.abc import Iterator
from typing import BinaryIO

from lxml import etree

from service.search.parse import docx, pptx, xlsx
from service.search.parse.ooxml import Element, attribute, child, name_of
from service.search.parse.types import TextPiece, UnreadableFile

MAX_XML = 64 * 1024 * 1024
MAX_COLUMN = 16_384  # of a row of Excel
_RELATIONS = (
    '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="main" '
    'Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" Target="main.xml"/>'
    "</Relationships>"
)
_FORMATS = {"word/": docx.parse, "ppt/": pptx.parse, "xl/": xlsx.parse}


def parse(file: BinaryIO) -> Iterator[TextPiece]:
    """Yields the text of the document. Raises UnreadableFile if it is XML of another kind."""
    data = file.read(MAX_XML + 1)
    if len(data) > MAX_XML:
        raise UnreadableFile(f"A document in XML may have {MAX_XML >> 20} MiB at most.")
    parser = etree.XMLParser(resolve_entities=False, no_network=True, remove_comments=True, remove_pis=True)
    try:
        root = etree.fromstring(data, parser)
    except etree.XMLSyntaxError:
        raise UnreadableFile("The document is no valid XML.") from None
    match name_of(root):
        case "package":
            yield from _package_text(root)
        case "wordDocument":
            body = etree.tostring(root)
            yield from docx.parse(_archive({"_rels/.rels": _RELATIONS.encode(), "main.xml": body}))
        case "Workbook":
            yield from _workbook_text(root)
        case _:
            raise UnreadableFile("The file is no document of Office, whatever its name says.")


def is_document(head: bytes) -> bool:
    """Whether XML that begins so is a document of Office."""
    return any(mark in head for mark in (b":package", b":wordDocument", b"progid=", b":office:spreadsheet"))


def _package_text(root: Element) -> Iterator[TextPiece]:
    """Yields the text of a package whose parts are elements (Flat OPC)."""
    parts: dict[str, bytes] = {}
    for part in root:
        name, xml, binary = (
            (attribute(part, "name") or "").lstrip("/"),
            child(part, "xmlData"),
            child(part, "binaryData"),
        )
        if xml is not None and len(xml):
            parts[name] = etree.tostring(xml[0])
        elif binary is not None:
            parts[name] = base64.b64decode("".join((binary.text or "").split()))
    for folder, parse_part in _FORMATS.items():
        if any(name.startswith(folder) for name in parts):
            yield from parse_part(_archive(parts))
            return
    raise UnreadableFile("The file is no document of Office, whatever its name says.")


def _archive(parts: dict[str, bytes]) -> BinaryIO:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    file.seek(0)
    return file


def _workbook_text(root: Element) -> Iterator[TextPiece]:
    """Yields the name of each visible sheet of Excel 2003, then its rows as lines with tabs between the cells."""
    for sheet in root:
        if name_of(sheet) != "Worksheet" or _is_hidden_sheet(sheet):
            continue
        yield f"{attribute(sheet, 'Name') or ''}\n", None
        for table in sheet:
            rows = table if name_of(table) == "Table" else ()
            for row in rows:
                if name_of(row) == "Row" and attribute(row, "Hidden") != "1":
                    yield "\t".join(_cells(row)).rstrip("\t") + "\n", None


def _is_hidden_sheet(sheet: Element) -> bool:
    options = child(sheet, "WorksheetOptions")
    visible = child(options, "Visible") if options is not None else None
    return visible is not None and (visible.text or "").startswith("SheetHidden")


def _cells(row: Element) -> Iterator[str]:
    """Yields the texts of a row's cells, with empty ones for those that are left out, and their comments."""
    column = 1
    for cell in row:
        if name_of(cell) != "Cell":
            continue
        index = attribute(cell, "Index") or ""
        if index.isdigit() and column < int(index[:6]) <= MAX_COLUMN:
            yield from [""] * (int(index[:6]) - column)
            column = int(index[:6])
        texts = [_value(each) for each in cell if name_of(each) in ("Data", "Comment")]
        yield " ".join(texts)
        column += 1


def _value(data: Element) -> str:
    text = " ".join("".join(data.itertext()).split())
    return text.removesuffix("T00:00:00.000") if attribute(data, "Type") == "DateTime" else text
