"""Long pages are converted and rendered in turns, between which the event loop does other work."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

import pytest

from projections.rows import MAX_TURN_BYTES, MAX_TURN_ROWS, load_rows
from service.http.paging import MAX_TURN_OBJECTS, render_all

T = TypeVar("T")


async def turns_during(work: Awaitable[T]) -> tuple[T, int]:
    """Returns the result of the work, and how many turns another task had meanwhile."""
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    counting = asyncio.create_task(count())
    try:
        return await work, turns
    finally:
        counting.cancel()


@pytest.mark.parametrize(
    ("rows", "least"),
    [
        ([{"body": b"1"}] * 10, 0),
        ([{"body": b"1"}] * (3 * MAX_TURN_ROWS + 1), 2),
        ([{"body": b"1" * MAX_TURN_BYTES}] * 5, 3),
        ([{"body": None}] * 10, 0),
    ],
)
async def test_rows_are_loaded_in_turns(rows: list[dict[str, bytes | None]], least: int) -> None:
    loaded, turns = await turns_during(load_rows(rows, lambda row: len(row["body"])))
    assert loaded == [None if row["body"] is None else len(row["body"]) for row in rows]
    assert turns >= least


async def test_objects_are_rendered_in_turns() -> None:
    rendered, turns = await turns_during(render_all(range(3 * MAX_TURN_OBJECTS), lambda n: {"n": n}))
    assert rendered == [{"n": n} for n in range(3 * MAX_TURN_OBJECTS)]
    assert turns >= 2
