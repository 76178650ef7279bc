"""`everthread replay` prints the timeline of a run, while it goes on and after its thread was deleted."""

from __future__ import annotations

import asyncio
import json

import pytest

from events.thread.commands import DeleteThread
from service.cli.replay import entry_lines
from service.database import Pool
from service.replay.run_reader import RunReader
from sql.connection import Connection
from tests.audit.sealing import seal
from tests.cli.test_keys import everthread
from tests.events.thread.story import add, claim, finish, run
from tests.projections.helpers import ORIGIN, make_thread, writer


@pytest.mark.slow
async def test_the_command(pool: Pool, db: Connection, database_url: str) -> None:
    write = writer(pool)

    async def replay(*arguments: str) -> tuple[int, str, str]:
        return await asyncio.to_thread(everthread, "replay", *arguments, EVERTHREAD_DATABASE_URL=database_url)

    await make_thread(write, "thread_1")
    await write.thread(ORIGIN, "thread_1", add("Hi"))
    await write.thread(ORIGIN, "thread_1", run(claim=claim()))
    code, output, report = await replay("run_1")
    assert code == 0
    assert "→ make the model call that this process has journaled" in output
    assert "The run goes on" in report
    await write.thread(ORIGIN, "thread_1", finish("Hello."))
    code, output, report = await replay("run_1", "--json", "--thread", "thread_1")
    entries = [json.loads(line) for line in output.splitlines()]
    assert (entries[0]["type"], entries[-1]["type"], report) == ("run.created", "run.completed", "")
    assert entries[0]["content"]["model"] == "gpt-test"
    assert [entry["version"] for entry in entries] == sorted({entry["version"] for entry in entries})
    await seal(db)
    await asyncio.to_thread(everthread, "usage", EVERTHREAD_DATABASE_URL=database_url)
    await write.thread(ORIGIN, "thread_1", DeleteThread())
    code, output, _ = await replay("run_1")
    assert code == 0
    assert ": Hello." in output
    code, _, report = await replay("run_2")
    assert code == 1
    assert "No run found with id 'run_2'." in report


async def test_a_run_that_the_thread_does_not_have_is_not_followed(pool: Pool) -> None:
    await make_thread(writer(pool), "thread_1")
    entries = RunReader(pool, "thread_1", "run_1", lambda _: "again").follow()
    async with asyncio.timeout(10):
        assert [entry async for entry in entries] == []


async def test_control_characters_are_printed_as_escapes(pool: Pool) -> None:
    write = writer(pool)
    await make_thread(write, "thread_1")
    await write.thread(ORIGIN, "thread_1", add("Hi"))
    await write.thread(ORIGIN, "thread_1", run(claim=claim()))
    await write.thread(ORIGIN, "thread_1", finish("\x1b[31mred\x9b0m"))
    reader = RunReader(pool, "thread_1", "run_1", lambda _: "again")
    lines = [line.plain async for entry in reader.entries() for line in entry_lines(entry, is_first=False)]
    assert all(line.isprintable() for line in lines)
    assert any(r"\x1b[31mred\x9b0m" in line for line in lines)


async def test_a_run_is_followed_to_its_end(pool: Pool) -> None:
    write = writer(pool)
    await make_thread(write, "thread_1")
    await write.thread(ORIGIN, "thread_1", add("Hi"))
    await write.thread(ORIGIN, "thread_1", run(claim=claim()))
    entries = RunReader(pool, "thread_1", "run_1", lambda _: "again").follow()
    types = [(await anext(entries)).recorded.event.type]
    await write.thread(ORIGIN, "thread_1", finish("Hello."))
    types += [entry.recorded.event.type async for entry in entries]
    assert types[0] == "run.created"
    assert types[-1] == "run.completed"
    assert len(types) == len(set(types))
