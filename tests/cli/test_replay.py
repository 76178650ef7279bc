"""`everthread replay` prints the timeline of a run, while it goes on and after its thread was deleted."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from events.thread.commands import DeleteMessage, DeleteThread
from service.cli.main import app
from service.cli.run_lines import entry_lines
from service.database import Pool
from service.errors import CommandError
from service.replay.deviations import LoggedEvent
from service.replay.recorded_events import render_line
from service.replay.run_reader import RunReader
from sql.connection import Connection
from tests.audit.sealing import seal
from tests.cli.test_keys import everthread
from tests.events.thread.story import CREATE, add, claim, finish, given, run
from tests.projections.helpers import ORIGIN, make_thread, writer


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ("--check --bundle F", "--check and --bundle cannot be combined."),
        ("--check --deleted", "--check and --deleted cannot be combined."),
        ("--check --thread thread_1", "--check and --thread cannot be combined."),
        ("--check --record F", "--check and --record cannot be combined."),
        ("--record F --diff run_2", "--record and --diff cannot be combined."),
        ("--record F --json", "--record and --json cannot be combined."),
        ("--record F --thread thread_1", "--record and --thread cannot be combined."),
        ("--diff run_2 --bundle F", "--bundle and --diff cannot be combined."),
        ("--json --bundle F", "--bundle and --json cannot be combined."),
        ("--json --step", "--step and --json cannot be combined."),
        ("--follow --step", "--step and --follow cannot be combined."),
        ("--follow --diff run_2", "--diff and --follow cannot be combined."),
        ("--bundle F --without-texts", "--bundle and --without-texts cannot be combined."),
        ("--without-texts", "--without-texts needs --record."),
    ],
)
def test_options_that_contradict_each_other(options: str, line: str) -> None:
    result = CliRunner().invoke(app, ["replay", "run_1", *options.split()])
    assert (type(result.exception), str(result.exception), result.output) == (CommandError, line, "")


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
    await asyncio.to_thread(everthread, "runs", "list", EVERTHREAD_DATABASE_URL=database_url)
    await write.thread(ORIGIN, "thread_1", DeleteThread())
    code, output, report = await replay("run_1")
    assert (code, output) == (1, "")
    assert "Its thread was deleted: --deleted shows it." in report
    code, output, _ = await replay("run_1", "--deleted")
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


@pytest.mark.slow
async def test_check(pool: Pool, db: Connection, database_url: str, tmp_path: Path) -> None:
    """A database and files are checked; a deviation is printed, and the exit code is 1."""
    write = writer(pool)

    async def check(*arguments: str) -> tuple[int, str, str]:
        return await asyncio.to_thread(
            everthread, "replay", "--check", *arguments, EVERTHREAD_DATABASE_URL=database_url
        )

    await make_thread(write, "thread_1")
    await write.thread(ORIGIN, "thread_1", add("Hi"))
    await write.thread(ORIGIN, "thread_1", run(claim=claim()))
    await write.thread(ORIGIN, "thread_1", finish("Hello."))
    for targets in ((), ("run_1",), ("thread_1",), ("default",)):
        code, output, report = await check(*targets)
        assert (code, output) == (0, ""), report
        assert "Today's software acts the same." in report
    await seal(db)
    _, exported, _ = await asyncio.to_thread(
        everthread, "audit", "export", "--content", "--stream", "thread_1", EVERTHREAD_DATABASE_URL=database_url
    )
    path = tmp_path / "thread.jsonl"
    path.write_text(exported)
    assert (await check(str(path)))[0] == (await check(str(tmp_path)))[0] == 0
    path.write_text(exported.replace('"status":"completed","ended_at"', '"status":"failed","ended_at"'))
    code, output, report = await check(str(tmp_path), "--json")
    [found] = [json.loads(line) for line in output.splitlines()]
    assert (code, found["part"], found["type"], found["run_id"]) == (1, "decide", "step.ended", "run_1")
    assert (found["recorded"], found["today"]) == (
        'step.ended with status "failed"',
        'step.ended with status "completed"',
    )
    code, output, _ = await check(str(path))
    assert code == 1
    assert "step.ended (run_1): decide differs\n  recorded: step.ended with" in output
    assert await check("run_2") == (1, "", "everthread: No run found with id 'run_2'.")
    assert await check("thread_2") == (1, "", "everthread: There is no thread_2.")
    assert (await check(str(tmp_path / "b.jsonl")))[2] == f"everthread: There is no file {tmp_path}/b.jsonl."
    path.write_text("{}")
    assert "line 1: no recorded event" in (await check(str(path)))[2]


def test_files_need_no_database(tmp_path: Path) -> None:
    log = given(CREATE, add("Hi"), run(claim=claim()), finish("Hello.")).log
    path = tmp_path / "run.jsonl"
    path.write_bytes(b"".join(render_line(LoggedEvent(recorded, "0.1.0")) for recorded in log))
    code, _, report = everthread(
        "replay", "--check", str(path), EVERTHREAD_DATABASE_URL="postgresql://127.0.0.1:9/none"
    )
    assert code == 0
    assert "1 streams with 11 events checked" in report


@pytest.mark.slow
async def test_record(pool: Pool, database_url: str, tmp_path: Path) -> None:
    write, path = writer(pool), tmp_path / "run.jsonl"

    async def record(*arguments: str) -> tuple[int, str, str]:
        return await asyncio.to_thread(everthread, "replay", *arguments, EVERTHREAD_DATABASE_URL=database_url)

    await make_thread(write, "thread_1")
    await write.thread(ORIGIN, "thread_1", add("My key is sk-0123456789abcdefghij."))
    for number in (1, 2):
        await write.thread(ORIGIN, "thread_1", run(f"run_{number}", claim=claim(first=str(number))))
        await write.thread(ORIGIN, "thread_1", finish("Hello.", run_id=f"run_{number}"))
    code, output, report = await record("--record", str(path), "run_1")
    assert (code, output) == (0, ""), report
    assert "11 events of 1 threads written" in report
    recorded = path.read_text()
    assert "sk-0123456789" not in recorded
    assert "My key is [openai_key]xxxxxxxxxxx." in recorded
    assert "run_2" not in recorded
    assert everthread("replay", "--check", str(path))[0] == 0
    assert (await record("--record", str(path), "run_1"))[2] == f"everthread: {path} exists already."
    path.unlink()
    assert (await record("--record", str(path), "run_1", "run_2", "--without-texts"))[0] == 0
    assert path.read_text().count('"run.created"') == 4  # in the envelope and in the content of two runs
    assert "Hello" not in path.read_text()
    assert everthread("replay", "--check", str(path))[0] == 0
    await write.thread(ORIGIN, "thread_1", DeleteMessage("msg_user", "user"))
    path.unlink()
    assert (await record("--record", str(path), "run_2"))[0] == 0
    assert "My key" not in path.read_text()
    assert everthread("replay", "--check", str(path))[0] == 0
    path.unlink()
    assert (await record("--record", str(path), "run_2", "--deleted"))[0] == 0
    assert "My key" in path.read_text()
    assert (await record("--record", str(path)))[0] == (await record("--record", str(path), "run_3"))[0] == 1
