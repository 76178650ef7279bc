"""Computations on values that may be large, which would hold the event loop: they run in a thread if the value is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from operator import attrgetter
from typing import Any, TypeVar

# The size from which a value is large. A part of it counts as its characters or bytes, and PART more.
LARGE = 128 * 1024
PART = 16

R = TypeVar("R")
_FieldsReader = Callable[[Any], tuple[Any, ...]]
_PLAIN = frozenset({int, float, bool, type(None), datetime})
# The readers of the types that were met, which are as many as the program has.
_READERS: dict[type[object], _FieldsReader] = {}


async def compute(work: Callable[[], R], *, in_thread: bool) -> R:
    """Returns the result of `work`. It runs in a thread if `in_thread` is set, which it is if its value is large."""
    return await asyncio.to_thread(work) if in_thread else work()


def is_large(value: object) -> bool:
    """Returns whether the parts of the value together have the size LARGE.

    The parts are the texts, numbers and others in its dataclasses with slots, mappings and sequences. The search ends
    when their size is found to be LARGE, so it is short for every value.
    """
    size = 0
    parts: list[Any] = [value]
    for part in parts:
        kind: type[object] = type(part)
        if kind is str or kind is bytes:
            size += len(part)
        elif kind is dict:
            parts += part.values()
        elif kind is tuple or kind is list:
            parts += part
        elif kind in _PLAIN:
            continue
        else:
            read = _READERS.get(kind) or _READERS.setdefault(kind, _fields_reader(kind))
            parts += read(part)
        if size + PART * len(parts) >= LARGE:
            return True
    return False


def _fields_reader(kind: type[object]) -> _FieldsReader:
    """Returns a function that reads the fields of a value of this type; there are none if the type has no slots."""
    names: tuple[str, ...] = tuple(getattr(kind, "__slots__", ()))
    if not names:
        return lambda _: ()
    read: Callable[[Any], Any] = attrgetter(*(name for name in names))
    return read if len(names) > 1 else lambda value: (read(value),)
