"""Annotations of a model's text: citations of what was found, and paths of files that code made. Pure and incremental.

The run knows what may stand in the text: the markers that its searches gave out (`service.tools.citation_markers`), and
the paths of produced files (sandbox:/mnt/data/report.csv). Whatever else looks like one was invented, and stays plain
text. A mark that is still being written is held back, no longer than the longest known one; each whole mark comes
alone, with its annotation. Indices count Unicode code points in the text so far.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from service.tools.citation_markers import OPENING, is_citation_marker, without_name

Json = dict[str, Any]

# Characters of a mark; a longer one, of a file name that is no name, is never annotated. It bounds what is held back.
MAX_MARK = 1024
# Annotations of one message; marks beyond stay plain text.
MAX_ANNOTATIONS = 1000

_PATH = "sandbox:"


@dataclass(frozen=True, slots=True)
class Cited:
    file_id: str
    quote: str


@dataclass(frozen=True, slots=True)
class Marks:
    """What may stand in the text: citations by marker, and file ids by path (/mnt/data/…)."""

    citations: Mapping[str, Cited] = field(default_factory=dict)
    paths: Mapping[str, str] = field(default_factory=dict)


Said = tuple[str, Json | None]


class Annotator:
    """Feed it with pieces of a text; it gives (text, annotation or None) in order, and the texts add up to it."""

    def __init__(self, marks: Marks) -> None:
        self.annotations: list[Json] = []
        self._made = _table(marks)
        # The longest first: of two marks that begin alike the longer one stands there.
        self._longest = sorted(self._made, key=len, reverse=True)
        self._held = ""
        self._at = 0

    def feed(self, text: str) -> list[Said]:
        if not self._made:
            return [(text, None)] if text else []
        return self._read(self._held + text, last=False)

    def end(self) -> list[Said]:
        """What was held back: the text is over."""
        return self._read(self._held, last=True)

    def _read(self, given: str, *, last: bool) -> list[Said]:
        found: list[Said] = []
        plain, at = 0, 0
        self._held = ""
        while (at := _start(given, at, last)) < len(given):
            mark = self._mark(given, at, last)
            if mark is None:
                self._held = given[at:]
                break
            if not mark:
                at += 1
                continue
            self._say(found, given[plain:at], None)
            kind, what = self._made[mark]
            place = {"start_index": self._at, "end_index": self._at + len(mark)}
            self.annotations.append({"type": kind, "text": mark, **place, kind: what})
            self._say(found, mark, self.annotations[-1])
            plain = at = at + len(mark)
        self._say(found, given[plain : len(given) - len(self._held)], None)
        return found

    def _say(self, found: list[Said], text: str, annotation: Json | None) -> None:
        if text:
            found.append((text, annotation))
            self._at += len(text)

    def _mark(self, given: str, at: int, last: bool) -> str | None:
        """The mark that stands at `at`, "" for none, None where that cannot be told yet."""
        if len(self.annotations) >= MAX_ANNOTATIONS:
            return ""
        rest = given[at : at + MAX_MARK + 2]
        for mark in self._longest:
            if not last and len(rest) < len(mark) and mark.startswith(rest):
                return None
            if rest.startswith(mark):
                if is_citation_marker(mark):
                    return mark
                ends = _ends(rest[len(mark) :], last)
                if ends is None:
                    return None
                if ends:
                    return mark
        return ""


def annotate(text: str, marks: Marks) -> list[Json]:
    """The annotations of a whole text."""
    annotator = Annotator(marks)
    annotator.feed(text)
    annotator.end()
    return annotator.annotations


def _start(given: str, at: int, last: bool) -> int:
    """Where the next mark may begin, at `at` or behind it; the end where none does."""
    places = [place for place in (given.find(OPENING, at), given.find(_PATH, at)) if place >= 0]
    if places:
        return min(places)
    if not last:
        for length in range(min(len(_PATH) - 1, len(given) - at), 0, -1):
            if given.endswith(_PATH[:length]):
                return len(given) - length
    return len(given)


def _ends(behind: str, last: bool) -> bool | None:
    """Whether a path ends where `behind` begins; None where that is open still. In a.csv2 and a.csv.gz it goes on."""
    if not behind:
        return True if last else None
    if behind[0] == ".":
        if len(behind) == 1:
            return True if last else None
        return not behind[1].isalnum()
    return not (behind[0].isalnum() or behind[0] in "_-")


def _table(marks: Marks) -> dict[str, tuple[str, Json]]:
    """What each mark is: its annotation's type, and what that holds."""
    made: dict[str, tuple[str, Json]] = {}
    cites = [(marker, cited) for marker, cited in marks.citations.items() if is_citation_marker(marker)]
    for marker, cited in [*((without_name(marker), cited) for marker, cited in cites), *cites]:
        made[marker] = ("file_citation", {"file_id": cited.file_id, "quote": cited.quote})
    for path, file_id in marks.paths.items():
        for written in _spellings(path):
            made[_PATH + written] = ("file_path", {"file_id": file_id})
    return {mark: one for mark, one in made.items() if len(mark) <= MAX_MARK}


def _spellings(path: str) -> Iterable[str]:
    """As it is, and as a link in Markdown has it."""
    return dict.fromkeys((path, quote(path)))
