"""Counts the steps of a search with a regular expression, so that a test can compare its growth with the text's.

The matcher backtracks over the tree of Python's own parser, as the matcher of `re` does without its shortcuts. It finds
the same matches, which the tests compare.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from re import _constants as c
from re import _parser as parser
from typing import Any

Nodes = Sequence[tuple[Any, Any]]


class StepCounter:
    """Searches a text from left to right and counts the characters and places that it looks at (`steps`)."""

    def __init__(self, pattern: re.Pattern[str], text: str) -> None:
        self._tree: Nodes = list(parser.parse(pattern.pattern, pattern.flags & ~re.UNICODE))
        self._ignores_case = bool(pattern.flags & re.IGNORECASE)
        self._text = text
        self.steps = 0

    def spans(self) -> list[tuple[int, int]]:
        """Returns the places of all matches, as `finditer` does."""
        found, start = list[tuple[int, int]](), 0
        while start <= len(self._text):
            end = next(self._ends(self._tree, start), None)
            if end is None:
                start += 1
            else:
                found.append((start, end))
                start = max(end, start + 1)
        return found

    def _ends(self, nodes: Nodes, at: int) -> Iterator[int]:
        """Yields the places at which a match of the nodes that begins at `at` can end, the preferred one first."""
        if not nodes:
            yield at
            return
        for middle in self._node_ends(*nodes[0], at):
            yield from self._ends(nodes[1:], middle)

    def _node_ends(self, kind: Any, value: Any, at: int) -> Iterator[int]:
        self.steps += 1
        if kind in (c.LITERAL, c.NOT_LITERAL, c.ANY, c.IN):
            if at < len(self._text) and self._is_in(kind, value, self._text[at]):
                yield at + 1
        elif kind == c.SUBPATTERN:
            yield from self._ends(value[3], at)
        elif kind == c.BRANCH:
            for branch in value[1]:
                yield from self._ends(branch, at)
        elif kind == c.AT:
            if self._is_at(value, at):
                yield at
        elif kind in (c.ASSERT, c.ASSERT_NOT):
            direction, inner = value
            start = at if direction > 0 else at - 1  # every look-behind of ours has one character
            is_found = start >= 0 and next(self._ends(inner, start), None) is not None
            if is_found == (kind == c.ASSERT):
                yield at
        elif kind == c.POSSESSIVE_REPEAT:
            least, most, inner = value
            end = next(self._repeats(least, most, inner, at, is_lazy=False), None)
            if end is not None:
                yield end
        else:
            assert kind in (c.MAX_REPEAT, c.MIN_REPEAT), kind
            least, most, inner = value
            yield from self._repeats(least, most, inner, at, is_lazy=kind == c.MIN_REPEAT)

    def _repeats(self, least: int, most: int, inner: Nodes, at: int, *, is_lazy: bool) -> Iterator[int]:
        """Yields the ends of repetitions. Only the first way of each repetition is tried, which suffices for ours."""
        ends = [at]
        if is_lazy:
            while len(ends) <= most:
                if len(ends) > least:
                    yield ends[-1]
                end = next(self._ends(inner, ends[-1]), None)
                if end is None:
                    return
                ends.append(end)
            return
        while len(ends) <= most and (end := next(self._ends(inner, ends[-1]), None)) is not None:
            ends.append(end)
        for count in range(len(ends) - 1, least - 1, -1):
            self.steps += 1
            yield ends[count]

    def _is_at(self, value: Any, at: int) -> bool:
        if value == c.AT_END_STRING:
            return at == len(self._text)
        assert value == c.AT_BOUNDARY, value
        words = [0 <= place < len(self._text) and _is_word(self._text[place]) for place in (at - 1, at)]
        return words[0] != words[1]

    def _is_in(self, kind: Any, value: Any, character: str) -> bool:
        cases = {character, character.lower(), character.upper()} if self._ignores_case else {character}
        if kind == c.ANY:
            return True
        if kind == c.LITERAL:
            return chr(value) in cases
        if kind == c.NOT_LITERAL:
            return chr(value) not in cases
        is_negated = value[0][0] == c.NEGATE
        is_found = any(_has(item, one) for item in value for one in cases)
        return bool(is_found != is_negated)


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"


def _has(item: tuple[Any, Any], character: str) -> bool:
    kind, value = item
    if kind == c.LITERAL:
        return bool(ord(character) == value)
    if kind == c.RANGE:
        low, high = value
        return bool(low <= ord(character) <= high)
    if kind == c.CATEGORY:
        return character.isspace() == bool(value == c.CATEGORY_SPACE)
    return False
