"""Annotates a model's text: citations of search results, and paths of files that code produced. Pure and incremental.

The run knows every string that may be annotated, called a mark: the markers of its search results
(`service.tools.citation_markers`), and the paths of produced files (sandbox:/mnt/data/report.csv). A string of the same
form that is not known was invented by the model, and stays plain text. While a mark is incomplete, the annotator holds
it back, at most for the length of the longest known mark. Each complete mark is emitted alone, with its annotation.
Indices count Unicode code points from the beginning of the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from urllib.parse import quote

from events.objects import Json
from service.tools.citation_markers import OPENING, is_citation_marker, without_name

# Maximum length of a mark in characters. Longer ones, of absurd file names, are never annotated.
MAX_MARK = 1024
# Maximum number of annotations of a message. Further marks stay plain text.
MAX_ANNOTATIONS = 1000

_PATH_SCHEME = "sandbox:"
_START = re.compile(f"{OPENING}|{_PATH_SCHEME}")
# A piece of the text, and its annotation if the piece is a mark.
AnnotatedPiece = tuple[str, Json | None]


@dataclass(frozen=True, slots=True)
class CitedPassage:
    file_id: str
    quote: str


@dataclass(frozen=True, slots=True)
class KnownMarks:
    """The passages that may be cited, by marker, and the ids of produced files, by path (/mnt/data/…)."""

    citations: Mapping[str, CitedPassage] = field(default_factory=dict)
    paths: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Node:
    """A beginning of marks: the longer beginnings by their next character, and whether it is a whole mark itself."""

    children: dict[str, _Node] = field(default_factory=dict)
    is_mark: bool = False


class Annotator:
    """Takes the pieces of a text, and returns pieces that add up to the same text, those of marks with annotations."""

    def __init__(self, marks: KnownMarks) -> None:
        self.annotations: list[Json] = []
        self._annotation_by_mark = _annotation_by_mark(marks)
        self._held_back = ""
        self._length = 0

    def feed(self, text: str) -> list[AnnotatedPiece]:
        if not self._annotation_by_mark:
            return [(text, None)] if text else []
        return self._scan(self._held_back + text, is_last=False)

    def end(self) -> list[AnnotatedPiece]:
        """Returns the text that was held back, when no more text follows."""
        return self._scan(self._held_back, is_last=True)

    def _scan(self, text: str, *, is_last: bool) -> list[AnnotatedPiece]:
        pieces: list[AnnotatedPiece] = []
        plain, at = 0, 0
        self._held_back = ""
        while len(self.annotations) < MAX_ANNOTATIONS and (at := _next_start(text, at, is_last)) < len(text):
            mark = self._mark_at(text, at, is_last)
            if mark is None:
                self._held_back = text[at:]
                break
            if not mark:
                at += 1
                continue
            self._emit(pieces, text[plain:at], None)
            type, fields = self._annotation_by_mark[mark]
            span = {"start_index": self._length, "end_index": self._length + len(mark)}
            self.annotations.append({"type": type, "text": mark, **span, type: fields})
            self._emit(pieces, mark, self.annotations[-1])
            plain = at = at + len(mark)
        self._emit(pieces, text[plain : len(text) - len(self._held_back)], None)
        return pieces

    def _emit(self, pieces: list[AnnotatedPiece], text: str, annotation: Json | None) -> None:
        if text:
            pieces.append((text, annotation))
            self._length += len(text)

    @cached_property
    def _tree(self) -> _Node:
        """The known marks as a tree. Only a text that may hold a mark needs it."""
        return _tree_of(self._annotation_by_mark)

    def _mark_at(self, text: str, at: int, is_last: bool) -> str | None:
        """Returns the mark that begins at `at`, "" if none does, or None if more text is needed to decide.

        If two marks begin alike, the longer one matches.
        """
        node, here, ends = self._tree, at, list[int]()
        while here < len(text) and (child := node.children.get(text[here])) is not None:
            node, here = child, here + 1
            if node.is_mark:
                ends.append(here)
        if here == len(text) and node.children and not is_last:
            return None
        for end in reversed(ends):
            if is_citation_marker(mark := text[at:end]):
                return mark
            is_end = _is_path_end(text[end : end + 2], is_last)
            if is_end is None:
                return None
            if is_end:
                return mark
        return ""


def annotate(text: str, marks: KnownMarks) -> list[Json]:
    """Returns the annotations of a complete text."""
    annotator = Annotator(marks)
    annotator.feed(text)
    annotator.end()
    return annotator.annotations


def _next_start(text: str, at: int, is_last: bool) -> int:
    """Returns the first index from `at` on at which a mark may begin, or the length of the text."""
    if (start := _START.search(text, at)) is not None:
        return start.start()
    if not is_last:
        for length in range(min(len(_PATH_SCHEME) - 1, len(text) - at), 0, -1):
            if text.endswith(_PATH_SCHEME[:length]):
                return len(text) - length
    return len(text)


def _is_path_end(rest: str, is_last: bool) -> bool | None:
    """Whether a path ends before `rest`; None if more text is needed. The path a.csv goes on in a.csv2 and a.csv.gz."""
    if not rest:
        return True if is_last else None
    if rest[0] == ".":
        if len(rest) == 1:
            return True if is_last else None
        return not rest[1].isalnum()
    return not (rest[0].isalnum() or rest[0] in "_-")


def _annotation_by_mark(marks: KnownMarks) -> dict[str, tuple[str, Json]]:
    """Returns the type of each mark's annotation, and the fields under that type."""
    annotations: dict[str, tuple[str, Json]] = {}
    citations = [(marker, passage) for marker, passage in marks.citations.items() if is_citation_marker(marker)]
    for marker, passage in [*((without_name(marker), passage) for marker, passage in citations), *citations]:
        annotations[marker] = ("file_citation", {"file_id": passage.file_id, "quote": passage.quote})
    for path, file_id in marks.paths.items():
        for spelling in _spellings(path):
            annotations[_PATH_SCHEME + spelling] = ("file_path", {"file_id": file_id})
    return {mark: annotation for mark, annotation in annotations.items() if len(mark) <= MAX_MARK}


def _tree_of(marks: Iterable[str]) -> _Node:
    """Returns the marks as a tree of their characters, which takes as long to search for many marks as for one."""
    tree = _Node()
    for mark in marks:
        node = tree
        for char in mark:
            if char not in node.children:
                node.children[char] = _Node()
            node = node.children[char]
        node.is_mark = True
    return tree


def _spellings(path: str) -> Iterable[str]:
    """Returns the path as it is, and percent-encoded as in a Markdown link."""
    return dict.fromkeys((path, quote(path)))
