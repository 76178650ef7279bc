"""The codes of fields of Word documents (ECMA-376 part 1, 17.16) that have no stored result, as Word shows them."""

from __future__ import annotations

import re

from service.search.parse.symbol_fonts import symbol_letter

MAX_CODE = 10_000  # characters
_FONT = re.compile(r'\\f\s+"?([^"\\]+?)"?(?:\s|$)')
# Phonetic guides of old versions: EQ \* jc2 \* "Font:…" \* hps10 \o\ad(\s\up 9(reading),base)
_RUBY = re.compile(r"\\o(?:\s*\\a[a-z])?\s*\(\s*\\s\s*\\up\s*-?\d+\s*\(([^()]*)\)\s*[,;]([^()]*)\)", re.IGNORECASE)
_FORMAT = re.compile(r'\\\*\s*(?:"[^"]*"|\S+)')
_SWITCH = re.compile(r"\\[A-Za-z]{1,2}\s*-?\d*")
_SEPARATORS = re.compile(r"(?<!\\)[(),;]")


def shown_code(code: str) -> tuple[str, str]:
    """Returns the text that Word shows instead of a field's code, and the phonetic reading that stands above it."""
    words = code[:MAX_CODE].split(None, 2)
    match words[0].upper() if words else "":
        case "MACROBUTTON" | "GOTOBUTTON" if len(words) > 2:
            return words[2].strip(), ""
        case "SYMBOL" if len(words) > 1:
            return _symbol(words[1], " ".join(words[2:])), ""
        case "EQ":
            return _equation(code[:MAX_CODE].strip()[2:])
        case _:
            return "", ""


def _symbol(number: str, switches: str) -> str:
    is_hexadecimal = number.lower().startswith("0x")
    digits = number[2:] if is_hexadecimal else number
    if not digits.isascii() or not digits.isalnum() or len(digits) > 6:
        return ""
    try:
        code = int(digits, 16 if is_hexadecimal else 10)
    except ValueError:
        return ""
    font = _FONT.search(switches)
    return symbol_letter(code, font.group(1) if font is not None else "")


def _equation(code: str) -> tuple[str, str]:
    ruby = _RUBY.search(code)
    if ruby is not None:
        return ruby.group(2).strip(), ruby.group(1).strip()
    text = _SEPARATORS.sub(" ", _SWITCH.sub(" ", _FORMAT.sub(" ", code)))
    return " ".join(text.replace("\\", "").split()), ""
