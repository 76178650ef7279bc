"""The reading order of a page in columns of prose.

PDFium yields text in the order in which the page draws it. Some programs draw line by line across the columns, so the
lines of all are mixed. Cells of tables lie side by side too, but are short: they keep their order.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pypdfium2.raw as raw

# The least width of the gap between columns, in points.
MIN_GAP = 9.0
# Successive lines that must have gaps at the same places, and the share of the text's width that a column has, by the
# number of columns.
MIN_LINES = 4
MIN_SHARE = {2: 0.3, 3: 0.23, 4: 0.18}
# Characters of a page that are looked at. A longer page is no page of prose in columns.
MAX_CHARACTERS = 50_000
# The hyphen at the end of a line, by which PDFium joins the line to the next one.
HYPHEN = "\ufffe"
_LINE = re.compile(rf"[^\r\n{HYPHEN}]*(?:\r\n|{HYPHEN}|[\r\n]|$)")
_SLACK = 20.0  # points that the edge of a column's line may be left of the first line's, as with hanging indents


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a line without a wide gap, with its left and right edges in points."""

    text: str
    left: float
    right: float


Line = Sequence[Segment]


def order_page(textpage: Any) -> str:
    """Returns the text of a page of PDFium with the columns one after the other. Lines end with LF, and words that are
    divided between lines are whole.
    """
    text: str = textpage.get_text_range()
    # PDFium counts UTF-16 units, so positions would differ on a page with characters beyond U+FFFF.
    if len(text) <= MAX_CHARACTERS and textpage.count_chars() == len(text):
        lines = [_segments(textpage, line, at) for line, at in _lines(text)]
        text = "\n".join(order_lines(lines))
    return _join_words(text.replace("\r\n", "\n"))


def _lines(text: str) -> Iterator[tuple[str, int]]:
    """Yields the lines and their positions. The end of a line is left out, but not a hyphen."""
    for found in _LINE.finditer(text):
        line = found.group().rstrip("\r\n")
        if line or found.group():
            yield line, found.start()


def _join_words(text: str) -> str:
    """Joins the lines that end with a hyphen. A hyphen before a capital letter is part of the word."""
    pieces = re.split(rf"{HYPHEN}\n?", text)
    joints = ("-" if piece[:1].isupper() else "" for piece in pieces[1:])
    return pieces[0] + "".join(joint + piece for joint, piece in zip(joints, pieces[1:], strict=True))


def order_lines(lines: Sequence[Line]) -> list[str]:
    """Returns the texts of the lines; where at least MIN_LINES of them are in columns, one column after the other.

    If the text runs from right to left, the columns do so too.
    """
    ordered: list[str] = []
    at = 0
    while at < len(lines):
        columns = _Columns(_from_left(lines[at]))
        end = at + 1
        while columns.gutters and end < len(lines) and columns.add(_from_left(lines[end])):
            end += 1
        if columns.is_prose():
            is_leftward = lines[at][0].left > lines[at][-1].left
            for column in reversed(columns.segments) if is_leftward else columns.segments:
                ordered += _divided_words([segment.text for segment in column])
        else:
            ordered += [" ".join(segment.text for segment in line) for line in lines[at:end]]
        at = end
    return ordered


def _from_left(line: Line) -> Line:
    return sorted(line, key=lambda segment: segment.left) if len(line) > 1 else line


def _divided_words(column: Sequence[str]) -> Iterator[str]:
    """Yields the lines of a column. PDFium does not see that a hyphen ends a line if another column is beside it."""
    for line, following in pairwise((*column, "")):
        is_divided = line.endswith("-") and line[-2:-1].isalpha() and following[:1].islower()
        yield line[:-1] + HYPHEN if is_divided else line


class _Columns:
    """Successive lines with common gaps. `gutters` are the edges of the gaps, and `segments` those of each column."""

    def __init__(self, first: Line) -> None:
        """Begins with the gaps of a line. If it has none, or too many, there are no gutters."""
        pairs = pairwise(first) if len(first) in MIN_SHARE else ()
        self.gutters = [(left.right, right.left) for left, right in pairs]
        self.segments: list[list[Segment]] = [[segment] for segment in first]
        self._full_lines = 1
        if any(right - left < MIN_GAP for left, right in self.gutters):
            self.gutters = []

    def add(self, line: Line) -> bool:
        """Adds a line and narrows the gutters. Returns False, and adds nothing, if a part of it is in a gutter."""
        gutters = list(self.gutters)
        places: list[int] = []
        for segment in line:
            place = sum(1 for _, right in self.gutters if segment.left >= right - _SLACK)
            for number, (left, right) in enumerate(gutters):
                if number < place:
                    gutters[number] = (left, min(right, segment.left))
                else:
                    gutters[number] = (max(left, segment.right), right)
            places.append(place)
        if len(set(places)) < len(places) or any(right - left < MIN_GAP for left, right in gutters):
            return False
        self.gutters = gutters
        self._full_lines += len(line) == len(self.segments)
        for place, segment in zip(places, line, strict=True):
            self.segments[place].append(segment)
        return True

    def is_prose(self) -> bool:
        """Whether the columns are of prose: their lines are many and fill the columns, unlike the cells of a table."""
        if not self.gutters or self._full_lines < MIN_LINES:
            return False
        width = max(each.right for each in self.segments[-1]) - min(each.left for each in self.segments[0])
        return all(
            sum(each.right - each.left for each in column) >= MIN_SHARE[len(self.segments)] * width * len(column)
            for column in self.segments
        )


def _segments(textpage: Any, line: str, start: int) -> list[Segment]:
    """Divides the line, whose first character is number `start` of the page, at its wide gaps."""
    segments: list[Segment] = []
    begin = 0
    for at in range(1, len(line) - 1):
        if line[at] != " " or line[at - 1] == " " or line[at + 1] == " ":
            continue
        before, after = _edges(textpage, start + at - 1), _edges(textpage, start + at + 1)
        if after[0] - before[1] >= MIN_GAP or before[0] - after[1] >= MIN_GAP:
            segments.append(_segment(textpage, line, start, begin, at))
            begin = at + 1
    segments.append(_segment(textpage, line, start, begin, len(line)))
    return segments


def _segment(textpage: Any, line: str, start: int, begin: int, end: int) -> Segment:
    text = line[begin:end]
    if not text:
        return Segment("", 0.0, 0.0)
    first, last = _edges(textpage, start + begin), _edges(textpage, start + end - 1)
    return Segment(text, min(first[0], last[0]), max(first[1], last[1]))


def _edges(textpage: Any, index: int) -> tuple[float, float]:
    """Returns the left and the right edge of a character."""
    left, right, bottom, top = (ctypes.c_double() for _ in range(4))
    raw.FPDFText_GetCharBox(textpage, index, left, right, bottom, top)
    return left.value, right.value
