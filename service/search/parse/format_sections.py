"""Divides the number formats of Excel (ECMA-376 part 1, 18.8.31) into sections of tokens."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

MAX_FORMAT = 255  # characters; Excel's own bound
MAX_FORMATS = 1000  # that are remembered
_TOKEN = re.compile(
    r"""(?P<quoted>"[^"]*"?)|\\(?P<escaped>.)|_(?P<space>.)|\*.|\[\$(?P<symbol>[^\]-]*)(?:-[^\]]*)?\]"""
    r"""|\[(?P<elapsed>h+|m+|s+)\]|\[(?P<condition>[<>=]+-?[\d.]+)\]|\[[^\]]*\]"""
    r"""|(?P<general>General)|(?P<noon>AM/PM|A/P|上午/下午)|(?P<exponent>E[+-])"""
    r"""|(?P<date>y+|m+|d+|h+|s+|e+)|(?P<fraction>(?<=[s\]])\.0+)|(?P<other>.)""",
    re.IGNORECASE | re.DOTALL,
)
_CONDITION = re.compile(r"([<>=]+)(-?[\d.]+)")
Token = tuple[str, str]  # its kind and its text


@dataclass(frozen=True, slots=True)
class Section:
    """One of up to four parts of a format: for positive and negative numbers, zero, and text."""

    tokens: tuple[Token, ...]
    condition: tuple[str, float] | None = None

    def has(self, *kinds: str) -> bool:
        return any(kind in kinds for kind, _ in self.tokens)


@lru_cache(MAX_FORMATS)
def sections_of(number_format: str) -> tuple[Section, ...]:
    sections: list[Section] = []
    tokens: list[Token] = []
    condition: tuple[str, float] | None = None
    for match in _TOKEN.finditer(number_format[:MAX_FORMAT]):
        kind, text = match.lastgroup or "", match.group(match.lastgroup) if match.lastgroup else ""
        if kind == "other" and text == ";":
            sections.append(Section(tuple(tokens), condition))
            tokens, condition = [], None
        elif kind == "condition":
            if found := _CONDITION.fullmatch(text):
                condition = (found.group(1), _float(found.group(2)))
        elif kind == "quoted":
            tokens.append(("literal", text.strip('"')))
        elif kind in ("escaped", "symbol"):
            tokens.append(("literal", text))
        elif kind == "space":
            tokens.append(("literal", " "))
        elif kind:
            tokens.append((kind, text))
    return (*sections, Section(tuple(tokens), condition))


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
