"""The reading order of a page in two columns of prose.

PDFium yields text in the order in which the page draws it. Some programs draw line by line across both columns, so the
lines of both are mixed. Cells of tables lie side by side too, but are short: they keep their order.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pypdfium2.raw as raw

# The least width of the gap between columns, in points.
MIN_GAP = 9.0
# Successive lines that must have a gap at the same place, and the share of the text's width that a column has.
MIN_LINES = 4
MIN_SHARE = 0.3
# Characters of a page that are looked at. A longer page is no page of prose in columns.
MAX_CHARACTERS = 50_000


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a line without a wide gap, with its left and right edges in points."""

    text: str
    left: float
    right: float


Line = Sequence[Segment]


def order_page(textpage: Any) -> str:
    """Returns the text of a page of PDFium with the columns one after the other. Lines end with LF."""
    text: str = textpage.get_text_range()
    # PDFium counts UTF-16 units, so positions would differ on a page with characters beyond U+FFFF.
    if len(text) > MAX_CHARACTERS or textpage.count_chars() != len(text):
        return text.replace("\r\n", "\n")
    lines: list[Line] = []
    at = 0
    for line in text.split("\r\n"):
        lines.append(_segments(textpage, line, at))
        at += len(line) + 2
    return "\n".join(order_lines(lines))


def order_lines(lines: Sequence[Line]) -> list[str]:
    """Returns the texts of the lines; where at least MIN_LINES of them are in two columns, the left column is first."""
    ordered: list[str] = []
    at = 0
    while at < len(lines):
        end, gutter = _columns_from(lines, at)
        if gutter is None:
            ordered += [" ".join(segment.text for segment in line) for line in lines[at:end]]
            at = end
            continue
        for is_left in (True, False):
            found = [segment for line in lines[at:end] for segment in line if (segment.right <= gutter) == is_left]
            ordered += [segment.text for segment in found]
        at = end
    return ordered


def _columns_from(lines: Sequence[Line], start: int) -> tuple[int, float | None]:
    """Returns the end of the lines with a common gap that begin at `start`, and a place between the columns.

    The place is None if the lines are not in two columns of prose.
    """
    low, high = float("-inf"), float("inf")  # the gap that all lines have
    end = start
    while end < len(lines):
        line = lines[end]
        if len(line) == 2:
            left, right = max(low, line[0].right), min(high, line[1].left)
        elif len(line) == 1 and end > start:  # the last lines of one column stand alone
            left, right = (max(low, line[0].right), high) if line[0].right <= high else (low, min(high, line[0].left))
        else:
            break
        if right - left < MIN_GAP:
            break
        low, high, end = left, right, end + 1
    pairs = [line for line in lines[start:end] if len(line) == 2]
    if len(pairs) < MIN_LINES:
        return max(end, start + 1), None
    width = max(line[1].right for line in pairs) - min(line[0].left for line in pairs)
    for side in (0, 1):
        if sum(line[side].right - line[side].left for line in pairs) < MIN_SHARE * width * len(pairs):
            return end, None
    return end, (low + high) / 2


def _segments(textpage: Any, line: str, start: int) -> list[Segment]:
    """Divides the line, whose first character is number `start` of the page, at its wide gaps."""
    segments: list[Segment] = []
    begin = 0
    for at in range(1, len(line) - 1):
        if line[at] != " " or line[at - 1] == " " or line[at + 1] == " ":
            continue
        if _edges(textpage, start + at + 1)[0] - _edges(textpage, start + at - 1)[1] >= MIN_GAP:
            segments.append(_segment(textpage, line, start, begin, at))
            begin = at + 1
    segments.append(_segment(textpage, line, start, begin, len(line)))
    return segments


def _segment(textpage: Any, line: str, start: int, begin: int, end: int) -> Segment:
    text = line[begin:end]
    if not text:
        return Segment("", 0.0, 0.0)
    return Segment(text, _edges(textpage, start + begin)[0], _edges(textpage, start + end - 1)[1])


def _edges(textpage: Any, index: int) -> tuple[float, float]:
    """Returns the left and the right edge of a character."""
    left, right, bottom, top = (ctypes.c_double() for _ in range(4))
    raw.FPDFText_GetCharBox(textpage, index, left, right, bottom, top)
    return left.value, right.value
