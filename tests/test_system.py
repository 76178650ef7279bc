"""The ids of a running program."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from service.system import RandomIds


def _draw(ids: RandomIds, count: int) -> list[bytes]:
    return [ids.draw("x") for _ in range(count)]


def test_threads_draw_no_bytes_twice() -> None:
    with ThreadPoolExecutor(4) as threads:
        drawn: Sequence[list[bytes]] = list(threads.map(_draw, [RandomIds() for _ in range(8)], [2_000] * 8))
    found = [each for part in drawn for each in part]
    assert {len(each) for each in found} == {64}
    assert len(set(found)) == len(found)


def test_a_fork_draws_other_bytes_than_its_parent() -> None:
    """The parent has bytes in store when it forks."""
    ids = RandomIds()
    ids.draw("x")
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, b"".join(_draw(ids, 10)))
        os._exit(0)
    os.waitpid(child, 0)
    drawn = os.read(reading, 640)
    os.close(reading)
    os.close(writing)
    assert not {drawn[at : at + 64] for at in range(0, 640, 64)} & set(_draw(ids, 200))
