"""PDF documents, page by page, by PDFium: the text, the values of form fields, and annotations."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import pypdfium2 as pdfium
import pypdfium2.raw as raw

from service.search.parse.columns import order_page
from service.search.parse.types import TextPiece, UnreadableFile

MAX_PAGES = 50_000
# Annotations of one page that are read, and characters of the text of one.
MAX_ANNOTATIONS = 10_000
MAX_ANNOTATION_TEXT = 100_000
# Bits of an annotation's flags: hidden, and no view.
_HIDDEN = 0x02 | 0x20
_PASSWORD = 1 << 13
# Annotations whose text a viewer shows. Links name their targets, and popups repeat the text of their owners.
_NOTES = frozenset(
    (
        *(raw.FPDF_ANNOT_TEXT, raw.FPDF_ANNOT_FREETEXT, raw.FPDF_ANNOT_LINE, raw.FPDF_ANNOT_SQUARE),
        *(raw.FPDF_ANNOT_CIRCLE, raw.FPDF_ANNOT_POLYGON, raw.FPDF_ANNOT_POLYLINE, raw.FPDF_ANNOT_HIGHLIGHT),
        *(raw.FPDF_ANNOT_UNDERLINE, raw.FPDF_ANNOT_SQUIGGLY, raw.FPDF_ANNOT_STRIKEOUT, raw.FPDF_ANNOT_STAMP),
        *(raw.FPDF_ANNOT_CARET, raw.FPDF_ANNOT_INK, raw.FPDF_ANNOT_FILEATTACHMENT),
    )
)
_CHOICES = frozenset((raw.FPDF_FORMFIELD_COMBOBOX, raw.FPDF_FORMFIELD_LISTBOX))


def parse(file: BinaryIO) -> Iterator[TextPiece]:
    """Yields the text of each page that has text, with the page's number from 1."""
    try:
        document = pdfium.PdfDocument(file)
    except pdfium.PdfiumError as error:
        raise UnreadableFile(
            "The PDF is protected by a password." if "assword" in str(error) else "The PDF is damaged."
        ) from None
    if len(document) > MAX_PAGES:
        raise UnreadableFile(f"The PDF has more than {MAX_PAGES} pages.")
    document.init_forms()
    seen: set[tuple[str, str]] = set()  # the names and values of the fields of earlier pages
    for number in range(len(document)):
        page = document[number]
        textpage = page.get_textpage()
        text = order_page(textpage)
        textpage.close()
        lines = [text, *_annotation_lines(page, document.formenv, seen)]
        page.close()
        if any(line.strip() for line in lines):
            yield "\n".join(line for line in lines if line.strip()) + "\n\n", number + 1


def _annotation_lines(page: Any, form: Any, seen: set[tuple[str, str]]) -> Iterator[str]:
    """Yields the values of the page's fields and the texts of its annotations, in the page's order."""
    for index in range(min(raw.FPDFPage_GetAnnotCount(page), MAX_ANNOTATIONS)):
        annotation = raw.FPDFPage_GetAnnot(page, index)
        if not annotation:
            continue
        try:
            if not raw.FPDFAnnot_GetFlags(annotation) & _HIDDEN:
                kind = raw.FPDFAnnot_GetSubtype(annotation)
                if kind == raw.FPDF_ANNOT_WIDGET and form is not None:
                    yield from _field_value(form, annotation, seen)
                elif kind in _NOTES:
                    yield _text(lambda *into, note=annotation: raw.FPDFAnnot_GetStringValue(note, b"Contents", *into))
        finally:
            raw.FPDFPage_CloseAnnot(annotation)


def _field_value(form: Any, annotation: Any, seen: set[tuple[str, str]]) -> Iterator[str]:
    """Yields the value that a field shows. A field that is in several places has the same value in each."""
    kind = raw.FPDFAnnot_GetFormFieldType(form, annotation)
    if kind in _CHOICES:
        selected = [
            number
            for number in range(min(raw.FPDFAnnot_GetOptionCount(form, annotation), MAX_ANNOTATIONS))
            if raw.FPDFAnnot_IsOptionSelected(form, annotation, number)
        ]
        labels = [
            _text(lambda *into, at=number: raw.FPDFAnnot_GetOptionLabel(form, annotation, at, *into))
            for number in selected
        ]
        value = ", ".join(labels) or _text(lambda *into: raw.FPDFAnnot_GetFormFieldValue(form, annotation, *into))
    elif kind == raw.FPDF_FORMFIELD_TEXTFIELD:
        if raw.FPDFAnnot_GetFormFieldFlags(form, annotation) & _PASSWORD:
            return
        value = _text(lambda *into: raw.FPDFAnnot_GetFormFieldValue(form, annotation, *into))
    else:
        return
    name = _text(lambda *into: raw.FPDFAnnot_GetFormFieldName(form, annotation, *into))
    if not name or (name, value) not in seen:
        seen.add((name, value))
        yield value


def _text(read: Callable[..., int]) -> str:
    """Returns a text that PDFium writes as UTF-16 into a buffer. `read` takes the buffer and its size in bytes."""
    size = min(read(None, 0), 2 * MAX_ANNOTATION_TEXT)
    if size <= 2:
        return ""
    buffer = ctypes.create_string_buffer(size)
    pointer = ctypes.cast(buffer, ctypes.POINTER(raw.FPDF_WCHAR))
    if read(pointer, size) > size:
        return ""  # PDFium writes nothing if the buffer is too small
    return buffer.raw[: size - 2].decode("utf-16-le", "replace").replace("\r\n", "\n").replace("\r", "\n")
