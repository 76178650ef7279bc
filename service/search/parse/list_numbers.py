"""The numbers of lists and headings in Word documents.

A paragraph names a list and a level, itself or by its style; the document's part `numbering` defines them (ECMA-376
part 1, 17.9). Lists with the same definition share their counters. Bullets are left out: they are no words.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from service.search.parse.numerals import format_number
from service.search.parse.ooxml import Element, Part, attribute, child, integer, is_on, name_of
from service.search.parse.word_styles import WordStyles

MAX_LEVELS = 9
MAX_LABEL = 200  # characters
_PLACE = re.compile(r"%([1-9])")


@dataclass(frozen=True, slots=True)
class _Level:
    """A level of a list. `text` has %1 to %9 in the places of the numbers of the levels. If it has `is_legal` set, all
    numbers are in digits."""

    kind: str
    text: str
    start: int
    suffix: str
    is_legal: bool
    restarts: bool


@dataclass(slots=True)
class _List:
    """A list: its definition's id, its levels, and the numbers at which its own levels start."""

    definition: str
    levels: dict[int, _Level]
    starts: dict[int, int] = field(default_factory=dict)


class ListNumbers:
    """The lists of a document, and the counters of the paragraphs that have been read."""

    def __init__(self, main: Part, styles: WordStyles) -> None:
        self._styles = styles
        self._definitions: dict[str, Element] = {}
        self._nums: dict[str, Element] = {}
        for part in main.parts_of_type("numbering"):
            for each in part.root:
                if name_of(each) == "abstractNum":
                    self._definitions[attribute(each, "abstractNumId") or ""] = each
                elif name_of(each) == "num":
                    self._nums[attribute(each, "numId") or ""] = each
        self._lists: dict[str, _List | None] = {}
        self._counters: dict[str, dict[int, int]] = {}

    def label(self, properties: Element | None) -> str:
        """Counts a paragraph with these properties. Returns its number and the space after it, or an empty text."""
        if properties is None or not self._nums:
            return ""
        number, at = self._place(properties)
        found = self._list(number) if number else None
        if found is None or at not in found.levels:
            return ""
        counters = self._counters.setdefault(found.definition, {})
        if at in found.starts:
            counters[at] = found.starts.pop(at)  # a list's own start counts once
        else:
            counters[at] = counters[at] + 1 if at in counters else found.levels[at].start
        for below in [each for each in counters if each > at]:
            if below not in found.levels or found.levels[below].restarts:
                del counters[below]
        return self._render(found, at, counters)

    def _render(self, found: _List, at: int, counters: dict[int, int]) -> str:
        level = found.levels[at]
        if level.kind == "bullet":
            return ""

        def number_at(place: re.Match[str]) -> str:
            which = int(place.group(1)) - 1
            other = found.levels.get(which)
            if other is None:
                return ""
            return format_number("decimal" if level.is_legal else other.kind, counters.get(which, other.start))

        label = _PLACE.sub(number_at, level.text)[:MAX_LABEL]
        return label + level.suffix if label.strip() else ""

    def _place(self, properties: Element) -> tuple[str, int]:
        """Returns the id of the paragraph's list, which is empty if there is none, and its level."""
        number, at = "", None
        style = child(properties, "pStyle")
        for each in (properties, *self._style_properties(attribute(style, "val") if style is not None else None)):
            own = child(each, "numPr")
            if own is None:
                continue
            if at is None and (level := child(own, "ilvl")) is not None:
                at = integer(level)
            if (list_id := child(own, "numId")) is not None:
                number = attribute(list_id, "val") or ""
                break
        return ("" if number == "0" else number), at or 0

    def _style_properties(self, style_id: str | None) -> Iterator[Element]:
        """Yields the paragraph properties of a style and of the styles that it is based on."""
        for style in self._styles.based_on(style_id):
            if (properties := child(style, "pPr")) is not None:
                yield properties

    def _list(self, number: str) -> _List | None:
        if number not in self._lists:
            self._lists[number] = self._read_list(number)
        return self._lists[number]

    def _read_list(self, number: str) -> _List | None:
        num = self._nums.get(number)
        definition_id = _value(num, "abstractNumId") if num is not None else None
        definition = self._definitions.get(definition_id or "")
        if num is None or definition is None or definition_id is None:
            return None
        if (style := _value(definition, "numStyleLink")) is not None:
            linked = [own for each in self._style_properties(style) if (own := child(each, "numPr")) is not None]
            other = _value(linked[0], "numId") if linked else None
            num = self._nums.get(other or "")
            definition_id = (_value(num, "abstractNumId") if num is not None else None) or ""
            definition = self._definitions.get(definition_id)
            if definition is None:
                return None
        found = _List(definition_id, dict(_levels(definition)))
        for override in self._nums[number].iterchildren("{*}lvlOverride"):
            found.levels |= dict(_levels(override))
            start = child(override, "startOverride")
            if start is not None:
                found.starts[integer(override, "ilvl")] = integer(start)
        return found


def _levels(parent: Element) -> Iterator[tuple[int, _Level]]:
    for level in parent.iterchildren("{*}lvl"):
        at, restart = integer(level, "ilvl"), child(level, "lvlRestart")
        start, suffix = child(level, "start"), _value(level, "suff")
        if at < MAX_LEVELS:
            yield (
                at,
                _Level(
                    kind=_value(level, "numFmt") or "decimal",
                    text=_value(level, "lvlText") or "",
                    start=integer(start) if start is not None else 1,
                    suffix="" if suffix == "nothing" else " ",
                    is_legal=is_on(level, "isLgl"),
                    restarts=restart is None or integer(restart) != 0,
                ),
            )


def _value(parent: Element, name: str) -> str | None:
    found = child(parent, name)
    return attribute(found, "val") if found is not None else None
