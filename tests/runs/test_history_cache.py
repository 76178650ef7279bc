"""A kept history with newer events is the history that the views hold, and it costs one query."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from events import event_log
from events.errors import DomainError
from events.objects import Message, Step
from projections import runs
from service.database import Pool
from service.runs import history
from service.runs.history import HistoryReader
from service.runs.history_cache import History, HistoryCache
from tests.events.thread.histories import World
from tests.events.thread.story import add, claim, finish, run
from tests.projections.helpers import ORIGIN, make_thread, writer

WINDOW = 1_000_000


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
async def test_a_kept_history_is_that_of_the_views(pool: Pool, seed: int) -> None:
    write, reader, compared = writer(pool), HistoryReader(pool), 0
    world = World(Random(seed), "thread_1", lifetimes=(0, 600, 600, 600))
    for _ in range(80):
        try:
            world.absorb((await write.thread(ORIGIN, "thread_1", world.next_command())).recorded)
        except DomainError:
            continue
        active = world.state.run
        if active is None:
            continue
        async with pool.acquire() as db:
            asked = await runs.get(db, "proj_1", "thread_1", active.id)
            found, _ = await history.load_entries(db, asked, WINDOW)
        kept = await reader.read(asked, active.position, WINDOW)
        assert [_for_prompts(entry) for _, entry in kept] == [_for_prompts(entry) for _, entry in found]
        compared += 1
    assert compared > 0


def _for_prompts(entry: Message | Step) -> Message | Step:
    """Returns the entry without metadata, which no prompt holds and no kept history follows."""
    return replace(entry, metadata={}) if isinstance(entry, Message) else entry


async def test_the_next_prompt_reads_events_alone(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    write, reader = writer(pool), HistoryReader(pool)
    await make_thread(write, "thread_1", "one")
    first = (await write.thread(ORIGIN, "thread_1", run(claim=claim(first="a")))).state.run
    assert first is not None
    async with pool.acquire() as db:
        asked = await runs.get(db, "proj_1", "thread_1", "run_1")
    await reader.read(asked, first.position, WINDOW)
    await write.thread(ORIGIN, "thread_1", finish("Done."))
    await write.thread(ORIGIN, "thread_1", add("two", "msg_2"))
    second = (await write.thread(ORIGIN, "thread_1", run("run_2", claim=claim(first="b")))).state.run
    assert second is not None
    async with pool.acquire() as db:
        asked = await runs.get(db, "proj_1", "thread_1", "run_2")
    with monkeypatch.context() as patch:
        patch.setattr(history, "load_entries", None)
        entries = await reader.read(asked, second.position, WINDOW)
    assert [entry.id for _, entry in entries] == ["msg_1", "msg_a", "msg_2"]
    monkeypatch.setattr(history, "MAX_NEWER", 1)
    again = await reader.read(asked, second.position, WINDOW)
    assert again == entries, "too many newer events: it is read again"


async def test_a_history_of_an_unknown_run_is_read_again(pool: Pool) -> None:
    write = writer(pool)
    await make_thread(write, "thread_1", "one")
    await write.thread(ORIGIN, "thread_1", run(claim=claim(first="a")))
    await write.thread(ORIGIN, "thread_1", finish("Done."))
    async with pool.acquire() as db:
        stale = History(version=3, window=None)
        stale.runs.clear()
        newer = await event_log.read(db, "thread_1", after=3)
        assert newer[0].event.type != "run.created"
        assert not await history._update(db, "thread_1", stale)


def test_the_cache_is_bounded() -> None:
    cache = HistoryCache(max_characters=1_000)
    for number in range(50):
        kept = History(version=1, window=None, characters=100)
        cache.put(f"thread_{number}", kept)
    assert (len(cache), cache.characters) == (10, 1_000)
    assert cache.take("thread_0") is None
    assert cache.take("thread_49") is kept
    assert cache.characters == 900


def test_a_history_that_has_grown_too_long_is_read_again() -> None:
    assert History(version=1, window=None, characters=16_000).covers(1_000)
    assert not History(version=1, window=None, characters=16_001).covers(1_000)
    assert not History(version=1, window=500, characters=9_000).covers(1_000)
    assert not History(version=1, window=1_000, characters=7_000).covers(1_000)
    assert History(version=1, window=1_000, characters=9_000).covers(1_000)
