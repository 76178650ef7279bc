"""A fold reads a stream in bounded parts, keeps the views that are asked for, and refuses what it cannot hold."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from events.errors import Rejection
from events.streams import THREAD
from projections import threads
from projections.row_fold import CannotFold
from service.database import Pool
from service.replay import jsonb, stream_fold
from service.replay.stream_fold import fold_stream, read_slices
from sql.connection import Connection
from tests.projections.helpers import make_thread, writer


async def test_a_fold_reads_pages_and_keeps_only_the_views_that_are_asked_for(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream_fold, "PAGE_EVENTS", 3)
    monkeypatch.setattr(stream_fold, "SLICE_EVENTS", 2)
    write = writer(pool)
    await make_thread(write, "thread_1", *"abcdefgh")
    fold = await fold_stream(pool, THREAD, "thread_1", 9, [threads.project])
    assert (fold.version, len(fold.rows.tables["messages"]), fold.state.user_messages) == (9, 0, 8)
    fold = await fold_stream(pool, THREAD, "thread_1", 5)
    assert (fold.version, len(fold.rows.tables["messages"])) == (5, 4)


async def test_other_work_has_its_turn_before_each_slice(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_fold, "SLICE_EVENTS", 2)
    await make_thread(writer(pool), "thread_1", *"abcdefgh")
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count_turns())
    seen = [(len(batch), turns) async for batch in read_slices(pool, "thread_1")]
    counting.cancel()
    assert [size for size, _ in seen] == [2, 2, 2, 2, 1], "one page in slices"
    at = [turn for _, turn in seen]
    assert at == sorted(set(at))


async def test_a_fold_that_is_too_large_is_refused(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_fold, "MAX_FOLD_BYTES", 1000)
    write = writer(pool)
    await make_thread(write, "thread_1", "x" * 2000)
    with pytest.raises(Rejection) as refused:
        await fold_stream(pool, THREAD, "thread_1", 2)
    assert refused.value.code == "history_too_large"
    assert (await fold_stream(pool, THREAD, "thread_1", 2, [threads.project])).version == 2


async def test_a_missing_event_is_an_error(pool: Pool, db: Connection) -> None:
    write = writer(pool)
    await make_thread(write, "thread_1", "one", "two")
    with pytest.raises(CannotFold, match="no event 4"):
        await fold_stream(pool, THREAD, "thread_1", 4)
    await db.execute("DELETE FROM events WHERE stream_id = 'thread_1' AND version = 2")
    with pytest.raises(CannotFold, match="no event 2"):
        await fold_stream(pool, THREAD, "thread_1", 3)


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"bb": 1, "a": "x", "ä": True, "a1": None, "B": [1, {"z": 1, "y": 2}]},
        {"big": 1e16, "small": 1.5e-7, "whole": 2.0, "negative": -0.5, "long": 12345678901234567890},
        {'quote"': "back\\slash\n", "é": "é€😀"},
    ],
)
async def test_jsonb(db: Connection, value: dict[str, Any]) -> None:
    text = orjson.dumps(value).decode()
    assert jsonb.normalize(text) == await db.fetchval("SELECT ($1::text)::jsonb::text", text)
