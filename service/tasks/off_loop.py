"""Computations on values that may be large, which would hold the event loop: they run in a thread if the value is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

# The size from which a value is large. A part of it counts as its characters or bytes, and PART more.
LARGE = 128 * 1024
PART = 16

R = TypeVar("R")


async def compute(work: Callable[[], R], *, value: object) -> R:
    """Returns the result of `work`, a computation on `value`. It runs in a thread if the value is large."""
    return await asyncio.to_thread(work) if is_large(value) else work()


def is_large(value: object) -> bool:
    """Returns whether the parts of the value together have the size LARGE.

    The parts are the texts, numbers and others in its dataclasses with slots, mappings and sequences. The search ends
    when their size is found to be LARGE, so it is short for every value.
    """
    size = 0
    parts = [value]
    for part in parts:
        kind = type(part)
        if kind is str or kind is bytes:
            size += len(part)  # type: ignore[arg-type]
        elif kind is dict:
            parts.extend(part.values())  # type: ignore[attr-defined]
        elif kind is tuple or kind is list:
            parts.extend(part)  # type: ignore[arg-type]
        elif part is not None and (names := getattr(kind, "__slots__", None)) is not None:
            parts.extend([getattr(part, name) for name in names])
        if size + PART * len(parts) >= LARGE:
            return True
    return False
