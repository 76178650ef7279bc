"""The part of a thread that a prompt reads: at most what the window could hold, within truncation_strategy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from events.objects import Message
from events.thread.commands import AddMessage, DeleteMessage
from projections import messages, runs, steps
from projections.rows import Page, load_page
from service.database import Pool
from service.model.base import ModelStreamEnd, TextDelta, ToolCallDelta
from service.runs import history
from service.runs.history import HistoryReader
from service.runs.prompt import Entry
from service.writer import Writer
from sql.connection import Connection
from tests.events.thread.story import FUNCTION, add, claim, finish, run, submit
from tests.projections.helpers import ORIGIN, make_thread, writer
from tests.runs.fake_model import USAGE, FakeModel, Script, says
from tests.runs.process import Process


def names(entries: list[Entry]) -> list[str]:
    """Returns the ids of the entries in order, and checks that their numbers grow."""
    return [entry.id for _, entry in sorted(entries, key=lambda pair: pair[0])]


async def load(pool: Pool, write: Writer, window: int = 8192, **settings: Any) -> list[str]:
    await write.thread(ORIGIN, "thread_1", run("run_new", claim(first="new"), **settings))
    async with pool.acquire() as db:
        made = await runs.get(db, "proj_1", "thread_1", "run_new")
        found, _ = await history.load_entries(db, made, window)
    state = await write.load_thread("thread_1")
    assert state.run is not None
    entries = (await HistoryReader(pool).read(made, state.run.position, window, None)).entries
    assert [entry for _, entry in entries] == [entry for _, entry in found]
    return names(entries)


@pytest.fixture
async def write(pool: Pool) -> Writer:
    """Writes a thread with msg_1 to msg_5, and a run that calls a tool and answers."""
    made = writer(pool)
    await make_thread(made, "thread_1", *("x" * 100 for _ in range(5)))
    await made.thread(ORIGIN, "thread_1", run(claim=claim(first="a")))
    await made.thread(ORIGIN, "thread_1", finish("", "call_1"))
    await made.thread(ORIGIN, "thread_1", submit("call_1", claim=claim(first="b")))
    await made.thread(ORIGIN, "thread_1", finish("Done.", epoch=2))
    return made


ALL = ["msg_1", "msg_2", "msg_3", "msg_4", "msg_5", "step_ta", "msg_b"]


@pytest.mark.slow
@pytest.mark.parametrize("page", [1, 2, 3, 200])
async def test_all_of_a_short_thread(pool: Pool, write: Writer, page: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "PAGE", page)
    assert await load(pool, write) == ALL


@pytest.mark.parametrize(("newest", "expected"), [(None, ALL), (3, ["msg_4", *ALL[4:]])])
async def test_pages_of_large_rows_end_early(
    pool: Pool, write: Writer, newest: int | None, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread of the largest messages and outputs is not loaded at once: each page here holds one row."""
    sizes: list[int] = []

    async def counted(*arguments: Any) -> Page[Any]:
        page = await load_page(*arguments)
        sizes.append(len(page.items))
        return page

    for module in (messages, steps):
        monkeypatch.setattr(module, "MAX_PAGE_BYTES", 1)
        monkeypatch.setattr(module, "load_page", counted)
    strategy = {"type": "auto"} if newest is None else {"type": "last_messages", "last_messages": newest}
    assert await load(pool, write, truncation_strategy=strategy) == expected
    assert set(sizes) == {1}


@pytest.mark.slow
@pytest.mark.parametrize("page", [1, 2, 200])
@pytest.mark.parametrize(("newest", "expected"), [(1, ["msg_b"]), (2, ["msg_5", "step_ta", "msg_b"]), (99, ALL)])
async def test_the_newest_messages(
    pool: Pool, write: Writer, newest: int, expected: list[str], page: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "PAGE", page)
    strategy = {"type": "last_messages", "last_messages": newest}
    assert await load(pool, write, truncation_strategy=strategy) == expected


async def test_a_thread_longer_than_any_window(pool: Pool, write: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reads the first message of the thread and the newest ones, and nothing between."""
    monkeypatch.setattr(history, "PAGE", 2)
    assert await load(pool, write, window=1) == ["msg_1", "msg_5", "step_ta", "msg_b"]


async def test_images_beyond_their_bytes_are_left_out(
    pool: Pool, write: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A prompt counts an image as few tokens, so its window would hold any number of bytes. The newest are kept."""
    url = "data:image/png;base64," + "A" * 78
    monkeypatch.setattr(history, "MAX_IMAGE_BYTES", 2 * len(url))
    image = {"type": "image_url", "image_url": {"url": url, "detail": "auto"}}
    for number in range(3):
        pictured = replace(add("Look", f"msg_i{number}").message, content=(image,))
        await write.thread(ORIGIN, "thread_1", AddMessage(pictured, queue=False))
    await write.thread(ORIGIN, "thread_1", run("run_new", claim=claim(first="new")))
    async with pool.acquire() as db:
        made = await runs.get(db, "proj_1", "thread_1", "run_new")
        found, _ = await history.load_entries(db, made, 8192)
    contents = [entry.content for _, entry in found[-3:] if isinstance(entry, Message)]
    assert contents == [[history.TOO_LARGE], [image], [image]]


async def test_deleted_messages_are_not_read(pool: Pool, db: Connection, write: Writer) -> None:
    await write.thread(ORIGIN, "thread_1", DeleteMessage("msg_1", "user"))
    assert await load(pool, write) == ALL[1:]


async def test_what_the_run_itself_says_does_not_push_the_question_out(database_url: str) -> None:
    script: Script = [
        [TextDelta("Let me look."), ToolCallDelta(0, "x", "weather", "{}")],
        [ModelStreamEnd("tool_calls", USAGE, "m")],
    ]
    async with Process(database_url, FakeModel(None, script, says("Sunny."))) as process:
        await process.say("t1", "How is it?")
        strategy = {"type": "last_messages", "last_messages": 1}
        await process.begin("t1", tools=(FUNCTION,), truncation_strategy=strategy)
        await process.answer(await process.wait_until_settled("t1"))
        assert (await process.wait_until_settled("t1")).status == "completed"
        asked = [[chat["content"] for chat in request.messages[1:]] for request in process.model.requests]
        assert asked[0] == ["How is it?"]
        assert asked[1][:2] == ["How is it?", "Let me look."]
