r"""Rich Text Format, which Word saves, also under the ending .doc (Microsoft, "Rich Text Format Specification 1.9.1").

A document is a sequence of groups in braces, control words such as `\par`, and text in bytes of the code page of its
font. The text of destinations that readers do not see, such as fonts, styles and pictures, is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import BinaryIO

from service.search.parse.types import TextPiece, UnreadableFile

MAGIC = b"{\\rtf"
MAX_RTF = 64 * 1024 * 1024  # bytes; pictures are written as digits
MAX_GROUPS = 10_000  # that are open at once
# Line ends are no text. `\bin` is followed by so many bytes that are not text either.
_TOKEN = re.compile(
    rb"\\([a-zA-Z]{1,32})(-?\d{1,10})? ?|\\'([0-9a-fA-F]{2})|\\([^a-zA-Z])|([{}])|[\r\n]+|([^\\{}\r\n]+)|\\", re.DOTALL
)
# Groups whose text readers do not see.
_SKIPPED = frozenset(
    b"fonttbl colortbl stylesheet info pict fldinst listtable listoverridetable revtbl rsidtbl generator themedata "
    b"colorschememapping datastore latentstyles xmlnstbl object objdata filetbl bkmkstart bkmkend template private "
    b"mmathPr listname wgrffmtfilter docvar passwordhash nonshppict sp sn sv tc xe atnid "
    b"atnauthor atntime atndate atnref atrfstart atrfend picprop protusertbl footnotesep ftnsep ftnsepc aftnsep "
    b"aftnsepc background".split()
)
# Groups that begin with \* and whose text is shown all the same.
_SHOWN = frozenset(b"shptxt shpinst shp annotation pn pntext".split())
_MARKS = {
    b"par": "\n", b"line": "\n", b"sect": "\n", b"page": "\n", b"column": "\n", b"row": "\n", b"nestrow": "\n",
    b"tab": "\t", b"cell": "\t", b"nestcell": "\t", b"emdash": "—", b"endash": "–", b"bullet": "•", b"lquote": "‘",
    b"rquote": "’", b"ldblquote": "“", b"rdblquote": "”", b"emspace": " ", b"enspace": " ", b"qmspace": " ",
}  # fmt: skip
_SYMBOLS = {b"~": " ", b"_": "‑", b"-": "", b"\n": "\n", b"\r": "\n", b"\t": "\t"}
_LITERAL = b"\\{}"
# Groups that stand apart from the text around them.
_STORIES = frozenset(
    b"footnote header headerl headerr headerf footer footerl footerr footerf annotation shptxt".split()
)
# Code pages of the character sets of fonts (\fcharset).
_CODE_PAGES = {
    128: "cp932", 129: "cp949", 130: "johab", 134: "gb18030", 136: "big5hkscs", 161: "cp1253", 162: "cp1254",
    163: "cp1258", 177: "cp1255", 178: "cp1256", 186: "cp1257", 204: "cp1251", 222: "cp874", 238: "cp1250",
    77: "mac-roman", 255: "cp437",
}  # fmt: skip
_NAMED_PAGES = {b"mac": "mac-roman", b"pc": "cp437", b"pca": "cp850", b"ansi": "cp1252"}


@dataclass(frozen=True, slots=True)
class _Group:
    """The state of a group: `skips` are the characters that stand for a `\\u` in programs without Unicode."""

    is_skipped: bool = False
    is_hidden: bool = False
    is_deleted: bool = False
    is_fonts: bool = False
    is_story: bool = False
    encoding: str = ""
    skips: int = 1


@dataclass(slots=True)
class _Document:
    """Reads tokens. `raw` are bytes whose text is not decoded yet, and `line` is the text since the last line's end."""

    group: _Group = field(default_factory=_Group)
    groups: list[_Group] = field(default_factory=list)
    encoding: str = "cp1252"
    fonts: dict[int, str] = field(default_factory=dict)
    font: int = 0
    raw: bytearray = field(default_factory=bytearray)
    line: list[str] = field(default_factory=list)
    units: list[int] = field(default_factory=list)
    is_new: bool = False  # the group has just begun
    is_starred: bool = False
    to_skip: int = 0

    def flush(self) -> None:
        """Decodes the bytes and UTF-16 units that were collected."""
        if self.units:
            data = b"".join(unit.to_bytes(2, "little") for unit in self.units)
            self.units.clear()
            self.line.append(data.decode("utf-16-le", "replace"))
        if self.raw:
            encoding = self.group.encoding or self.encoding
            text = bytes(self.raw)
            self.raw.clear()
            self.line.append(text.decode(encoding, "replace"))

    @property
    def is_shown(self) -> bool:
        group = self.group
        return not (group.is_skipped or group.is_hidden or group.is_deleted)

    def add_bytes(self, data: bytes) -> None:
        if self.to_skip:
            skipped = min(self.to_skip, len(data))
            self.to_skip -= skipped
            data = data[skipped:]
        if data and self.is_shown:
            if self.units:
                self.flush()
            self.raw += data

    def add_text(self, text: str) -> None:
        if self.to_skip:
            self.to_skip -= 1
        elif self.is_shown:
            self.flush()
            self.line.append(text)

    def take_lines(self) -> str:
        """Returns the text so far, and clears it."""
        self.flush()
        text = "".join(self.line)
        self.line = []
        return text


def parse(file: BinaryIO) -> Iterator[TextPiece]:
    """Yields the text of the document, paragraph by paragraph."""
    data = file.read(MAX_RTF + 1)
    if len(data) > MAX_RTF:
        raise UnreadableFile(f"A document in RTF may have {MAX_RTF >> 20} MiB at most.")
    document, at = _Document(), 0
    while (found := _TOKEN.match(data, at)) is not None:
        at = found.end()
        word, number, code, symbol, brace, text = found.groups()
        if word == b"bin":
            at += max(0, int(number or 0))
        elif word is not None:
            _read_word(document, word, int(number) if number is not None else None)
        elif code is not None:
            document.add_bytes(bytes((int(code, 16),)))
        elif brace is not None:
            _read_brace(document, brace)
        elif text is not None:
            document.add_bytes(text)
        elif symbol == b"*":
            document.is_starred = True
            continue
        elif symbol is not None:
            document.add_text(symbol.decode() if symbol in _LITERAL else _SYMBOLS.get(symbol, ""))
        document.is_new = brace == b"{"
        if document.line and document.line[-1] == "\n":
            yield _tidy(document.take_lines()), None
    yield document.take_lines() + "\n", None


def _tidy(line: str) -> str:
    """Returns a line without the tab behind the last cell of a row."""
    return line.removesuffix("\n").rstrip("\t ") + "\n"


def _read_brace(document: _Document, brace: bytes) -> None:
    document.flush()
    document.to_skip = 0
    document.is_starred = False
    if brace == b"{":
        if len(document.groups) == MAX_GROUPS:
            raise UnreadableFile("The document is nested too deeply.")
        document.groups.append(document.group)
        document.group = replace(document.group, is_story=False)
    elif document.groups:
        if document.group.is_story and document.line:
            document.line.append("\n")
        document.group = document.groups.pop()


def _read_word(document: _Document, word: bytes, number: int | None) -> None:
    """Reads a control word with its number."""
    group = document.group
    if document.is_new or document.is_starred:
        is_skipped = word in _SKIPPED or (document.is_starred and word not in _SHOWN)
        if is_skipped and not group.is_skipped:
            document.group = group = replace(group, is_skipped=True, is_fonts=word == b"fonttbl")
        elif word in _STORIES and document.is_shown:
            if document.line or document.raw:
                document.add_text("\n")
            document.group = group = replace(group, is_story=True)
        document.is_starred = False
    is_on = number != 0
    if mark := _MARKS.get(word):
        document.add_text(mark)
    elif word == b"u" and number is not None:
        if document.is_shown:
            if document.raw:
                document.flush()
            document.units.append(number & 0xFFFF)
        document.to_skip = group.skips
    elif word == b"uc":
        document.group = replace(group, skips=max(0, min(number or 0, 10)))
    elif word in (b"v", b"webhidden"):
        document.flush()
        document.group = replace(group, is_hidden=is_on)
    elif word == b"deleted":
        document.flush()
        document.group = replace(group, is_deleted=is_on)
    elif word in (b"plain", b"f", b"fcharset", b"cpg", b"ansicpg") or word in _NAMED_PAGES:
        _read_font(document, word, number or 0)


def _read_font(document: _Document, word: bytes, number: int) -> None:
    """Reads a control word about fonts and code pages, which decide what the bytes of the text mean."""
    document.flush()
    if word == b"plain":
        document.group = replace(document.group, is_hidden=False, encoding="")
    elif word == b"f" and document.group.is_fonts:
        document.font = number
    elif word == b"f":
        document.group = replace(document.group, encoding=document.fonts.get(number, ""))
    elif word == b"fcharset":
        if number in _CODE_PAGES:
            document.fonts[document.font] = _CODE_PAGES[number]
    elif word in (b"ansicpg", b"cpg"):
        try:
            b"".decode(encoding := {65001: "utf-8", 10000: "mac-roman", 936: "gb18030"}.get(number, f"cp{number}"))
        except LookupError:
            return
        if word == b"ansicpg":
            document.encoding = encoding
        else:
            document.fonts[document.font] = encoding
    elif not document.group.is_skipped and len(document.groups) == 1:
        document.encoding = _NAMED_PAGES[word]
