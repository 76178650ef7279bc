"""Lists: limit, order and cursors as a table against a plain Python list, and other projects' objects."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import pytest

from events.assistant import DeleteAssistant, ModifyAssistant
from events.errors import NotFound
from events.thread.commands import DeleteMessage, DeleteThread, ModifyThread
from projections import assistants, messages, runs, steps, threads
from projections.rows import Cursor, Page
from service.database import Pool
from sql.connection import Connection
from tests.events.thread.story import add, claim, finish, run, submit
from tests.projections.helpers import ORIGIN, OTHER, make_assistant, make_thread, writer

Read = Callable[[Cursor], Awaitable[Page[Any]]]


@dataclass(frozen=True)
class Listed:
    """A list to page through: its ids in ascending order, the deleted ones among them, and its reader."""

    ids: Sequence[str]
    deleted: frozenset[str]
    read: Read


def expected(listed: Listed, cursor: Cursor) -> tuple[list[str], bool]:
    """Returns (ids, has more), computed from a plain list."""
    ids = list(listed.ids if cursor.order == "asc" else reversed(listed.ids))
    low = ids.index(cursor.after) + 1 if cursor.after else 0
    high = ids.index(cursor.before) if cursor.before else len(ids)
    between = [id for id in ids[low:high] if id not in listed.deleted]
    if cursor.before and not cursor.after:
        return between[-cursor.limit :], len(between) > cursor.limit
    return between[: cursor.limit], len(between) > cursor.limit


async def check(listed: Listed) -> None:
    places = [None, *listed.ids]
    for order, limit, after, before in product(("asc", "desc"), (1, 2, 100), places, places):
        cursor = Cursor(limit, order, after, before)  # type: ignore[arg-type]
        page = await listed.read(cursor)
        assert ([item.id for item in page.items], page.more) == expected(listed, cursor), cursor
    for unknown in (Cursor(5, after="nothing"), Cursor(5, before="nothing"), Cursor(5, "asc", listed.ids[0], "x")):
        with pytest.raises(NotFound):
            await listed.read(unknown)


async def test_messages(pool: Pool, db: Connection) -> None:
    write = writer(pool)
    await make_thread(write, "thread_1", "a", "b", "c", "d", "e", "f")
    await make_thread(write, "thread_2")
    await write.thread(ORIGIN, "thread_2", add("x", "msg_other"))
    for id in ("msg_1", "msg_4"):
        await write.thread(ORIGIN, "thread_1", DeleteMessage(id, "user"))
    ids = [f"msg_{n}" for n in range(1, 7)]
    await check(
        Listed(ids, frozenset({"msg_1", "msg_4"}), lambda cursor: messages.page(db, "proj_1", "thread_1", cursor))
    )
    with pytest.raises(NotFound):  # a cursor of another thread
        await messages.page(db, "proj_1", "thread_1", Cursor(5, after="msg_other"))
    with pytest.raises(NotFound):
        await messages.get(db, "proj_1", "thread_1", "msg_1")


async def test_assistants(pool: Pool, db: Connection) -> None:
    write = writer(pool)
    for number in range(6):
        await make_assistant(write, f"asst_{number}")
    # Many are created at the same instant; then the id decides.
    await db.execute("UPDATE assistants SET created_at = '2026-01-01' WHERE assistant_id IN ('asst_2', 'asst_3')")
    await db.execute("UPDATE assistants SET created_at = '2025-01-01' WHERE assistant_id = 'asst_0'")
    for id in ("asst_3", "asst_5"):
        await write.assistant(ORIGIN, id, DeleteAssistant())
    ids = [row["assistant_id"] for row in await db.fetch("SELECT * FROM assistants ORDER BY created_at, assistant_id")]
    deleted = frozenset({"asst_3", "asst_5"})
    await check(Listed(ids, deleted, lambda cursor: assistants.page(db, "proj_1", cursor)))


async def test_runs_and_steps(pool: Pool, db: Connection) -> None:
    write = writer(pool)
    await make_thread(write, "thread_1", "a")
    for number in range(1, 5):
        id = f"run_{number}"
        await write.thread(ORIGIN, "thread_1", run(id, claim(first=f"{number}a")))
        await write.thread(ORIGIN, "thread_1", finish("Text.", "call_1", run_id=id))
        await write.thread(ORIGIN, "thread_1", submit("call_1", claim=claim(first=f"{number}b"), run_id=id))
        await write.thread(ORIGIN, "thread_1", finish("Done.", run_id=id, epoch=2))
    none: frozenset[str] = frozenset()
    ids = [f"run_{n}" for n in range(1, 5)]
    await check(Listed(ids, none, lambda cursor: runs.page(db, "proj_1", "thread_1", cursor)))
    ids = ["step_m2a", "step_t2a", "step_m2b"]
    await check(Listed(ids, none, lambda cursor: steps.page(db, "proj_1", "thread_1", "run_2", cursor)))
    of_run = await messages.page(db, "proj_1", "thread_1", Cursor(10, "asc"), run_id="run_3")
    assert [message.id for message in of_run.items] == ["msg_3a", "msg_3b"]
    with pytest.raises(NotFound):  # a child under the wrong parent
        await steps.get(db, "proj_1", "thread_1", "run_1", "step_m2a")
    assert (await steps.get(db, "proj_1", "thread_1", "run_2", "step_t2a")).outputs == {"call_1": "out call_1"}


async def test_another_projects_objects_are_not_there(pool: Pool, db: Connection) -> None:
    write = writer(pool)
    await make_assistant(write, "asst_1")
    await make_thread(write, "thread_1", "a")
    await write.thread(ORIGIN, "thread_1", run(claim=claim()))
    await write.thread(ORIGIN, "thread_1", finish("", "call_1"))
    project = OTHER.project_id
    nothing: list[Awaitable[Any]] = [
        assistants.get(db, project, "asst_1"),
        threads.get(db, project, "thread_1"),
        messages.get(db, project, "thread_1", "msg_1"),
        runs.get(db, project, "thread_1", "run_1"),
        steps.get(db, project, "thread_1", "run_1", "step_t1"),
        assistants.page(db, project, Cursor(5, after="asst_1")),
        messages.page(db, project, "thread_1", Cursor(5, after="msg_1")),
        runs.page(db, project, "thread_1", Cursor(5, before="run_1")),
        steps.page(db, project, "thread_1", "run_1", Cursor(5, before="step_t1")),
        write.assistant(OTHER, "asst_1", ModifyAssistant({})),
        write.assistant(OTHER, "asst_1", DeleteAssistant()),
        write.thread(OTHER, "thread_1", ModifyThread({})),
        write.thread(OTHER, "thread_1", DeleteThread()),
        write.thread(OTHER, "thread_1", add()),
        write.thread(OTHER, "thread_1", submit("call_1")),
    ]
    for question in nothing:
        with pytest.raises(NotFound):
            await question
    empty: list[Awaitable[Page[Any]]] = [
        assistants.page(db, project, Cursor(5)),
        messages.page(db, project, "thread_1", Cursor(5)),
        runs.page(db, project, "thread_1", Cursor(5)),
        steps.page(db, project, "thread_1", "run_1", Cursor(5)),
    ]
    assert [(await page).items for page in empty] == [[], [], [], []]


async def test_modified_objects_keep_their_place(pool: Pool, db: Connection) -> None:
    write = writer(pool)
    for number in range(3):
        await make_assistant(write, f"asst_{number}")
    before = await assistants.page(db, "proj_1", Cursor(10))
    await write.assistant(ORIGIN, "asst_1", ModifyAssistant({"name": "Renamed"}))
    after = await assistants.page(db, "proj_1", Cursor(10))
    assert after.items == [replace(a, name="Renamed") if a.id == "asst_1" else a for a in before.items]
