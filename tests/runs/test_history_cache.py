"""A kept history with newer events is the history that the views hold, and it costs one query."""

from __future__ import annotations

import itertools
from dataclasses import replace
from random import Random
from typing import Any, cast

import pytest

from events import event_log
from events.errors import DomainError
from events.objects import Message, Run, Step
from events.thread import events as e
from events.thread.commands import DeleteMessage
from events.thread.state import RunState
from projections import runs, steps
from service.database import Pool
from service.runs import history
from service.runs.history import HistoryReader
from service.runs.history_cache import TYPES, History, HistoryCache
from service.runs.history_size import entry_bytes
from sql.connection import Connection
from tests.events.thread.histories import World
from tests.events.thread.story import CREATE, add, claim, finish, run, submit
from tests.projections.helpers import ORIGIN, make_thread, writer

WINDOW = 1_000_000


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("misses", [0.0, 0.2, 1.0])
async def test_a_kept_history_is_that_of_the_views(pool: Pool, seed: int, misses: float) -> None:
    """The reader misses this share of the appends, as those of another process."""
    write, reader, chance = writer(pool), HistoryReader(pool), Random(seed)
    compared = 0
    # A history can delete its thread early, so threads follow each other until there is enough to compare.
    for number in itertools.count(1):
        world = World(chance, f"thread_{number}", lifetimes=(0, 600, 600, 600))
        for _ in range(80):
            try:
                written = await write.thread(ORIGIN, world.state.id, world.next_command())
            except DomainError:
                continue
            world.absorb(written.recorded)
            if written.recorded and chance.random() >= misses:
                reader.follow(world.state.id, written.recorded)
            if world.state.run is not None:
                await _compare(pool, reader, world.state.id, world.state.run, written.version)
                compared += 1
        if compared >= 10:
            return


async def _compare(pool: Pool, reader: HistoryReader, thread_id: str, active: RunState, version: int) -> None:
    async with pool.acquire() as db:
        asked = await runs.get(db, "proj_1", thread_id, active.id)
        found, _ = await history.load_entries(db, asked, WINDOW)
    kept = (await reader.read(asked, active.position, WINDOW, version)).entries
    assert [_for_prompts(entry) for _, entry in kept] == [_for_prompts(entry) for _, entry in found]


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
    await reader.read(asked, first.position, WINDOW, None)
    await write.thread(ORIGIN, "thread_1", finish("Done."))
    await write.thread(ORIGIN, "thread_1", add("two", "msg_2"))
    second = (await write.thread(ORIGIN, "thread_1", run("run_2", claim=claim(first="b")))).state.run
    assert second is not None
    async with pool.acquire() as db:
        asked = await runs.get(db, "proj_1", "thread_1", "run_2")
    with monkeypatch.context() as patch:
        patch.setattr(history, "load_entries", None)
        entries = (await reader.read(asked, second.position, WINDOW, None)).entries
    assert [entry.id for _, entry in entries] == ["msg_1", "msg_a", "msg_2"]


class UnusedPool:
    """A pool that nobody may use."""

    def acquire(self) -> Any:
        raise AssertionError("a connection was acquired")


async def test_a_prompt_of_a_thread_of_this_process_needs_no_query(pool: Pool) -> None:
    write, reader = writer(pool), HistoryReader(cast(Pool, UnusedPool()))
    written = [await write.thread(ORIGIN, "thread_1", command) for command in (CREATE, add("one", "msg_1"))]
    written.append(await write.thread(ORIGIN, "thread_1", run(claim=claim(first="a"))))
    for result in written:
        reader.follow("thread_1", result.recorded)
    async with pool.acquire() as db:
        asked = await runs.get(db, "proj_1", "thread_1", "run_1")
    active = written[-1].state.run
    assert active is not None
    entries = (await reader.read(asked, active.position, WINDOW, written[-1].version)).entries
    assert [entry.id for _, entry in entries] == ["msg_1"]
    with pytest.raises(AssertionError, match="acquired"):
        await reader.read(asked, active.position, WINDOW, written[-1].version + 1)


async def test_a_kept_history_does_not_follow_over_a_gap(pool: Pool) -> None:
    write, reader = writer(pool), HistoryReader(pool)
    reader.follow("thread_1", (await write.thread(ORIGIN, "thread_1", CREATE)).recorded)
    await write.thread(ORIGIN, "thread_1", add("of another process", "msg_1"))
    reader.follow("thread_1", (await write.thread(ORIGIN, "thread_1", add("two", "msg_2"))).recorded)
    begun = await write.thread(ORIGIN, "thread_1", run(claim=claim(first="a")))
    reader.follow("thread_1", begun.recorded)
    async with pool.acquire() as db:
        asked = await runs.get(db, "proj_1", "thread_1", "run_1")
    assert begun.state.run is not None
    entries = (await reader.read(asked, begun.state.run.position, WINDOW, begun.version)).entries
    assert [entry.id for _, entry in entries] == ["msg_1", "msg_2"]


def counted_loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Returns a list that gets the id of the run at each read of the views."""
    loads: list[str] = []
    load = history.load_entries

    async def counted(db: Connection, run: Run, window: int) -> Any:
        loads.append(run.id)
        return await load(db, run, window)

    monkeypatch.setattr(history, "load_entries", counted)
    return loads


async def test_entries_of_a_run_before_the_read_are_not_read_again(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message of the first run follows the creation of the second one, and is deleted before that is read."""
    write, reader = writer(pool), HistoryReader(pool)
    await make_thread(write, "thread_1", "one")
    await write.thread(ORIGIN, "thread_1", run(claim=claim(first="a")))
    await write.thread(ORIGIN, "thread_1", run("run_2", queue=True))
    second = (await write.thread(ORIGIN, "thread_1", finish("Done."))).state.run
    await write.thread(ORIGIN, "thread_1", DeleteMessage("msg_a", "assistant"))
    assert second is not None
    async with pool.acquire() as db:
        asked = await runs.get(db, "proj_1", "thread_1", "run_2")
    loads = counted_loads(monkeypatch)
    for _ in range(3):
        entries = (await reader.read(asked, second.position, WINDOW, None)).entries
        assert [entry.id for _, entry in entries] == ["msg_1"]
    assert loads == ["run_2"]


async def test_many_newer_events_are_read_once(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MAX_NEWER", 3)
    monkeypatch.setattr(history, "MAX_PAGES", 1)
    write, reader = writer(pool), HistoryReader(pool)
    await make_thread(write, "thread_1", "one")
    first = (await write.thread(ORIGIN, "thread_1", run(claim=claim(first="a")))).state.run
    assert first is not None
    for number in range(7):
        await write.thread(ORIGIN, "thread_1", replace(add("later", f"msg_q{number}"), queue=True))
    async with pool.acquire() as db:
        asked = await runs.get(db, "proj_1", "thread_1", "run_1")
    loads = counted_loads(monkeypatch)
    for _ in range(3):
        entries = (await reader.read(asked, first.position, WINDOW, None)).entries
        assert [entry.id for _, entry in entries] == ["msg_1"]
    assert loads == ["run_1"]


async def test_newer_events_are_read_in_pages_of_bytes(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_log, "READ_BYTES", 1)
    write, reader = writer(pool), HistoryReader(pool)
    await make_thread(write, "thread_1", "one")
    first = (await write.thread(ORIGIN, "thread_1", run(claim=claim(first="a")))).state.run
    assert first is not None
    await write.thread(ORIGIN, "thread_1", finish("Done."))
    async with pool.acquire() as db:
        asked = await runs.get(db, "proj_1", "thread_1", "run_1")
        page = await event_log.read_types(db, "thread_1", TYPES, after=0, until=event_log.NO_END)
        assert ([entry.version for entry in page.recorded], page.more) == ([2], True)
    entries = (await reader.read(asked, first.position, WINDOW, None)).entries
    assert [entry.id for _, entry in entries] == ["msg_1", "msg_a"]


async def test_a_cut_history_follows_the_deletion_of_its_first_message(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "PAGE", 2)
    write, reader = writer(pool), HistoryReader(pool)
    await make_thread(write, "thread_1", *(str(number) * 30 for number in range(9)))
    first = (await write.thread(ORIGIN, "thread_1", run(claim=claim(first="a")))).state.run
    assert first is not None
    async with pool.acquire() as db:
        asked = await runs.get(db, "proj_1", "thread_1", "run_1")
    assert [entry.id for _, entry in (await reader.read(asked, first.position, 8, None)).entries] == [
        "msg_1",
        "msg_8",
        "msg_9",
    ]
    await write.thread(ORIGIN, "thread_1", finish("Done."))
    await write.thread(ORIGIN, "thread_1", DeleteMessage("msg_1", "user"))
    second = (await write.thread(ORIGIN, "thread_1", run("run_2", claim=claim(first="b")))).state.run
    assert second is not None
    async with pool.acquire() as db:
        asked = await runs.get(db, "proj_1", "thread_1", "run_2")
    kept = [entry.id for _, entry in (await reader.read(asked, second.position, 8, None)).entries]
    assert kept[0] == "msg_2"


async def test_a_message_added_during_a_run_is_in_the_next_prompt(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if the kept history is read again in between, because it was kept for a larger window."""
    monkeypatch.setattr(history, "PAGE", 2)
    write, reader = writer(pool), HistoryReader(pool)
    await make_thread(write, "thread_1", *("x" * 3000 for _ in range(12)))
    await write.thread(ORIGIN, "thread_1", run("run_1", claim=claim(first="a")))
    state = await write.load_thread("thread_1")
    assert state.run is not None
    async with pool.acquire() as db:
        first = await runs.get(db, "proj_1", "thread_1", "run_1")
    await reader.read(first, state.run.position, 100_000, None)
    added = await write.thread(ORIGIN, "thread_1", replace(add("while busy", "msg_busy"), queue=True))
    reader.follow("thread_1", added.recorded)
    await reader.read(first, state.run.position, 1200, added.version)
    for command in (replace(finish("Done."), run_id="run_1"), run("run_2", claim=claim(first="b"))):
        written = await write.thread(ORIGIN, "thread_1", command)
        reader.follow("thread_1", written.recorded)
    state = await write.load_thread("thread_1")
    assert state.run is not None
    async with pool.acquire() as db:
        second = await runs.get(db, "proj_1", "thread_1", "run_2")
    entries = (await reader.read(second, state.run.position, 1200, written.version)).entries
    assert "msg_busy" in [entry.id for _, entry in entries]


def test_the_cache_is_bounded() -> None:
    cache = HistoryCache(max_bytes=10_000)
    for number in range(50):
        kept = History(version=1, window=None)
        cache.put(f"thread_{number}", kept)
    assert (len(cache), cache.bytes) == (10, 10_000), "a history without entries takes memory too"
    assert cache.take("thread_0") is None
    assert cache.take("thread_49") is kept
    assert cache.bytes == 9_000


def test_the_memory_of_a_history_is_that_of_all_it_holds() -> None:
    step = Step(
        id="step_1",
        thread_id="thread_1",
        run_id="run_1",
        assistant_id="asst_1",
        created_at=1,
        expires_at=2,
        type="tool_calls",
        message_id=None,
        tool_calls=[],
        results={"call_1": {"shown": {"logs": "x" * 5_000}, "output": "y" * 1_000_000}},
    )
    assert entry_bytes(step) > 2_010_000


def test_a_history_that_has_grown_too_long_is_read_again() -> None:
    assert History(version=1, window=None, characters=16_000).covers(1_000)
    assert not History(version=1, window=None, characters=16_001).covers(1_000)
    assert not History(version=1, window=500, characters=9_000).covers(1_000)
    assert not History(version=1, window=1_000, characters=7_000).covers(1_000)
    assert History(version=1, window=1_000, characters=9_000).covers(1_000)


async def test_a_kept_step_is_the_step_of_the_views(pool: Pool) -> None:
    """It is returned as of the version that the caller knows, and not of another one."""
    write, reader = writer(pool), HistoryReader(pool)
    commands = (CREATE, add("one"), run(claim=claim()), finish("", "call_1"), submit("call_1", claim=claim(first="2")))
    results = [await write.thread(ORIGIN, "thread_1", command) for command in commands]
    for result in results:
        reader.follow("thread_1", result.recorded)
    result = results[-1]
    submitted = next(each.event for each in result.recorded if isinstance(each.event, e.ToolOutputsSubmitted))
    async with pool.acquire() as db:
        step = await steps.get(db, ORIGIN.project_id, "thread_1", submitted.run_id, submitted.step_id)
    assert reader.find_step("thread_1", step.id, version=result.version) == step
    assert reader.find_step("thread_1", step.id, version=result.version - 1) is None
    assert reader.find_step("thread_1", "step_other", version=result.version) is None
    assert reader.find_step("thread_2", step.id, version=result.version) is None
