"""Counts of several processes, as nested dictionaries of numbers and lists of numbers, so that they can be added up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Counts = Mapping[str, Any]


def add_counts(one: Counts, other: Counts) -> dict[str, Any]:
    """Returns the sums of all numbers of both. A number that one of them lacks counts as 0.

    Processes of two versions of the software may count differently: a count that has another type or length in `other`
    is the one of `other`.
    """
    total = dict(one)
    for name, value in other.items():
        total[name] = _add(total[name], value) if name in total else value
    return total


def _add(one: Any, other: Any) -> Any:
    match one, other:
        case dict(), dict():
            return add_counts(one, other)
        case list(), list() if len(one) == len(other):
            return [_add(a, b) for a, b in zip(one, other, strict=True)]
        case ((int() | float()), (int() | float())):
            return one + other
        case _:
            return other
