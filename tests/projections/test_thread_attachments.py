"""Files that messages attach to a thread: they are listed in its order, and its row does not grow with them."""

from __future__ import annotations

from typing import Any

from events.thread.commands import AddMessage, CreateThread, ModifyThread, NewMessage
from projections import threads
from projections.rebuild import verify
from service.database import Pool
from sql.connection import Connection
from tests.events.thread.story import CREATE
from tests.projections.helpers import ORIGIN, writer

FILES = 40


def message(number: int, *tools: str) -> NewMessage:
    attachments: list[Any] = [{"file_id": f"file-{number}", "tools": [{"type": tool} for tool in tools]}]
    content: list[Any] = [{"type": "text", "text": {"value": "See this.", "annotations": []}}]
    return NewMessage(f"msg_{number}", "user", content, attachments, {})


async def test_the_row_of_a_thread_does_not_grow_with_attachments(pool: Pool, db: Connection) -> None:
    write, sizes = writer(pool), set[int]()
    await write.thread(ORIGIN, "thread_1", CREATE)
    for number in range(FILES):
        await write.thread(ORIGIN, "thread_1", AddMessage(message(number, "code_interpreter", "file_search")))
        sizes.add(await db.fetchval("SELECT pg_column_size(threads) FROM threads"))
    assert len(sizes) == 1
    shown = (await threads.get(db, "proj_1", "thread_1")).tool_resources
    assert shown["code_interpreter"]["file_ids"] == [f"file-{number}" for number in range(FILES)]
    assert len(shown["file_search"]["vector_store_ids"]) == 1
    assert await verify(db, "thread_1") == []


async def test_new_tool_resources_replace_the_attached_files(pool: Pool, db: Connection) -> None:
    write = writer(pool)
    both = ("code_interpreter", "file_search")
    await write.thread(ORIGIN, "thread_1", CreateThread({}, {}, (message(1, *both), message(2, *both))))
    created = (await threads.get(db, "proj_1", "thread_1")).tool_resources
    assert created["code_interpreter"] == {"file_ids": ["file-1", "file-2"]}
    resources = {"code_interpreter": {"file_ids": ["file-9"]}}
    await write.thread(ORIGIN, "thread_1", ModifyThread({"tool_resources": resources}))
    assert (await threads.get(db, "proj_1", "thread_1")).tool_resources == resources
    await write.thread(ORIGIN, "thread_1", AddMessage(message(3, "code_interpreter")))
    await write.thread(ORIGIN, "thread_1", ModifyThread({"metadata": {"a": "b"}}))
    shown = await threads.get(db, "proj_1", "thread_1")
    assert shown.tool_resources == {"code_interpreter": {"file_ids": ["file-9", "file-3"]}}
    assert await verify(db, "thread_1") == []
