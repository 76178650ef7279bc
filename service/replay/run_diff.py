"""Compares two runs event by event, apart from ids, times and processes. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import zip_longest
from typing import Any

# Fields that differ between any two runs, or that follow from others.
_IGNORED_NAMES = (
    "at created_at ended_at expires_at expired_at started_at gap_s version process epoch actor request_id "
    "summary sha256 bytes answer cost body wait_s upstream_id"
)
_IGNORED = frozenset(_IGNORED_NAMES.split())
_ID = re.compile(r"\b(?:asst|call|file|key|msg|proj|req|run|step|thread|upload|vs|vsfb)[_-][A-Za-z0-9_]+")
# Differences that one pair of events names, and characters of each of the two values.
MAX_DIFFERENCES = 20
MAX_VALUE = 120


@dataclass(frozen=True, slots=True)
class FieldDifference:
    """A field that differs. `path` is that of the field in the entry's JSON; a value that is missing is null."""

    path: str
    left: str | None
    right: str | None


@dataclass(frozen=True, slots=True)
class EventPair:
    """Two events that stand side by side, as JSON of `RunView`, or one that the other run lacks (null)."""

    left: Mapping[str, Any] | None
    right: Mapping[str, Any] | None
    differences: Sequence[FieldDifference]

    @property
    def is_equal(self) -> bool:
        """Whether both runs have the event, with the same inputs and outputs."""
        return self.left is not None and self.right is not None and not self.differences


def compare_runs(left: Sequence[Mapping[str, Any]], right: Sequence[Mapping[str, Any]]) -> list[EventPair]:
    """Returns the events of two runs side by side. They are aligned by their types."""
    plain_left, plain_right = _without_ids(left), _without_ids(right)
    matcher = SequenceMatcher(None, [one["type"] for one in left], [one["type"] for one in right], autojunk=False)
    pairs: list[EventPair] = []
    for tag, a, a_end, b, b_end in matcher.get_opcodes():
        if tag == "equal":
            pairs += [
                EventPair(left[a + n], right[b + n], list(_differences(plain_left[a + n], plain_right[b + n])))
                for n in range(a_end - a)
            ]
        else:
            pairs += [EventPair(one, None, ()) for one in left[a:a_end]]
            pairs += [EventPair(None, one, ()) for one in right[b:b_end]]
    return pairs


def first_difference(pairs: Sequence[EventPair]) -> int | None:
    """Returns the place of the first pair that differs, or None if the runs are alike."""
    return next((place for place, pair in enumerate(pairs) if not pair.is_equal), None)


def _without_ids(entries: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Returns the entries with ids numbered in the order of their appearance, and without ignored fields."""
    numbers: dict[str, str] = {}

    def number(found: re.Match[str]) -> str:
        kind = re.split("[_-]", found.group(), maxsplit=1)[0]
        return numbers.setdefault(found.group(), f"{kind} {len(numbers) + 1}")

    def clean(value: Any) -> Any:
        if isinstance(value, str):
            return _ID.sub(number, value)
        if isinstance(value, list):
            return [clean(one) for one in value]
        if isinstance(value, dict):
            return {clean(key): clean(one) for key, one in value.items() if key not in _IGNORED}
        return value

    return [clean({**entry, "content": _without_record(entry["content"])}) for entry in entries]


def _without_record(content: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the content of an event without the record of its prompt, whose parts are compared instead."""
    return {key: value for key, value in content.items() if key != "prompt"}


def _differences(left: Any, right: Any) -> Iterator[FieldDifference]:
    for number, found in enumerate(_walk(left, right, "")):
        if number == MAX_DIFFERENCES:
            return
        yield found


def _walk(left: Any, right: Any, path: str) -> Iterator[FieldDifference]:
    if isinstance(left, dict) and isinstance(right, dict):
        for key in dict.fromkeys((*left, *right)):
            yield from _walk(left.get(key), right.get(key), f"{path}.{key}" if path else str(key))
    elif isinstance(left, list) and isinstance(right, list):
        for place, (one, other) in enumerate(zip_longest(left, right)):
            yield from _walk(one, other, f"{path}[{place}]")
    elif left != right:
        yield FieldDifference(path, _short(left), _short(right))


def _short(value: Any) -> str | None:
    if value is None:
        return None
    text = str(value)
    return text if len(text) <= MAX_VALUE else f"{text[:MAX_VALUE]}…"
