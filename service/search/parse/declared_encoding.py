"""The encoding that a text says it has, in the way of its kind."""

from __future__ import annotations

import codecs
import re

# Bytes at the beginning of a file among which it may name its encoding: in HTML and XML, in Python and Ruby (PEP 263),
# for Emacs and Vim, in CSS, and in LaTeX.
DECLARED_BYTES = 4096
_DECLARED = re.compile(
    rb"(?:charset|encoding)\s*=\s*[\"']?\s*([\w.:-]+)|coding[:=]\s*([\w.-]+)|@charset\s+[\"']([\w.-]+)"
    rb"|\\(?:usepackage\s*\[([\w.-]+)\]\s*\{inputenc|inputencoding\{([\w.-]+))",
    re.IGNORECASE,
)
_FAMILIES = ("big5", "cp", "euc", "gb", "hz", "iso2022", "iso8859", "johab", "koi8", "mac", "ptcp", "shift_jis", "tis")
# Names that Python lacks, and encodings instead of which programs write a larger one.
_INSTEAD = {
    "ansinew": "cp1252", "applemac": "mac-roman", "x-mac-roman": "mac-roman", "latin9": "iso8859-15",
    "x-sjis": "cp932", "x-euc-jp": "euc_jp", "x-gbk": "gb18030", "x-big5": "big5hkscs", "windows-874": "cp874",
    "iso8859-1": "cp1252", "ascii": "cp1252", "iso8859-9": "cp1254", "tis-620": "cp874", "euc_kr": "cp949",
    "shift_jis": "cp932", "gb2312": "gb18030", "gbk": "gb18030", "big5": "big5hkscs",
}  # fmt: skip


def declared_encoding(head: bytes) -> str | None:
    """Returns the first encoding that the beginning of a text names and that has the characters of ASCII, if any."""
    for found in _DECLARED.finditer(head[:DECLARED_BYTES]):
        name = found.group(found.lastindex or 0).decode("ascii", "replace").lower()
        try:
            encoding = codecs.lookup(_INSTEAD.get(name, name)).name
        except (LookupError, ValueError):
            continue
        encoding = _INSTEAD.get(encoding, encoding)
        if encoding.startswith(_FAMILIES) and b"a".decode(encoding) == "a":
            return encoding
    return None
