"""Large values are computed on in a thread, and the search for their size is short."""

from __future__ import annotations

import threading

import pytest

from service.model.base import ChatRequest
from service.tasks.off_loop import LARGE, PART, compute, is_large
from tests.events.thread.story import FUNCTION, add, claim, finish, run

TEXT = "x" * LARGE


@pytest.mark.parametrize(
    "value",
    [
        TEXT,
        [["a"] * (LARGE // PART)],
        {"a": [{"b": TEXT}]},
        add(TEXT),
        finish(TEXT),
        run(instructions=TEXT),
        ChatRequest(model="m", messages=[{"role": "user", "content": [{"type": "text", "text": TEXT}]}]),
    ],
)
async def test_a_large_value_is_computed_on_in_a_thread(value: object) -> None:
    assert is_large(value)
    assert await compute(threading.get_ident, in_thread=is_large(value)) != threading.get_ident()


@pytest.mark.parametrize("value", ["x" * (LARGE // 2), add("Hi"), finish("Hi"), run(claim=claim(), tools=(FUNCTION,))])
async def test_a_small_value_is_computed_on_at_once(value: object) -> None:
    assert not is_large(value)
    assert await compute(threading.get_ident, in_thread=is_large(value)) == threading.get_ident()


def test_the_search_ends_when_the_size_is_found() -> None:
    assert is_large([TEXT] * 2)
    assert is_large([*range(LARGE)])
    nested: list[object] = []
    nested.append(nested)
    assert is_large(nested), "a value that contains itself has no end"
