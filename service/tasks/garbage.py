"""Pauses of Python's cyclic garbage collector, for work that builds very many objects and keeps them.

A collection looks at every object of the process and holds all threads meanwhile: seconds, if there are millions.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


class _Pauses:
    count = 0


@contextmanager
def pause_collections() -> Iterator[None]:
    """Lets no collection begin by itself in the context. Objects without cycles are freed as always.

    The work must have a bound, since cycles of all other work stay in memory until its end.
    """
    _Pauses.count += 1
    gc.disable()
    try:
        yield
    finally:
        _Pauses.count -= 1
        if _Pauses.count == 0:
            gc.enable()
