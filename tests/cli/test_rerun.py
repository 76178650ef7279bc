"""`everthread rerun` runs a fork on a running server, with changes, and compares; `everthread fork` makes one."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from service.database import Pool
from sql.connection import Connection
from tests.cli.test_keys import everthread
from tests.client import Client
from tests.http.helpers import assistant_with, run_of, thread_with
from tests.http.test_forks import WEATHER, conversation, listed
from tests.projections.helpers import make_thread, writer
from tests.scripted import ScriptedServer, calls, says

pytestmark = pytest.mark.slow


async def command(database_url: str, *arguments: str, **more: str) -> tuple[int, str, str]:
    return await asyncio.to_thread(everthread, *arguments, EVERTHREAD_DATABASE_URL=database_url, **more)


async def test_a_rerun_with_changes(client: Client, database_url: str, model: ScriptedServer, tmp_path: Path) -> None:
    thread, _ = await conversation(client, model)
    run, _ = await listed(client, f"/threads/{thread}/runs")
    before = [request["messages"] for request in model.requests]
    models, tools = tmp_path / "models.toml", tmp_path / "tools.json"
    models.write_text('[[models]]\nmatch = "*"\n[[models.prices]]\ninput = 1\noutput = 2\n')
    tools.write_text(json.dumps([WEATHER]))
    model.script(calls(("weather", {"city": "Oslo"})), says("Eight, or so."))
    code, output, report = await command(
        database_url,
        *("rerun", run["id"], "--model", "gpt-other", "--instructions", "Be brief.", "--tools", str(tools), "--json"),
        EVERTHREAD_MODELS=str(models),
    )
    assert code == 0, report
    found = json.loads(output)
    recorded, [new] = found["recorded"], found["reruns"]
    assert (recorded["answer"], new["answer"]) == ("Eight degrees.", "Eight, or so.")
    assert (recorded["model"], new["model"]) == ("gpt-4o", "gpt-other")
    assert new["status"] == "completed"
    assert new["prompt_tokens"] > 0
    assert float(new["dollars"]) > 0
    first, second = [*model.requests][-2:]
    assert first["model"] == "gpt-other"
    assert first["messages"] == [{"role": "system", "content": "Be brief."}, *before[0]]
    assert second["messages"][1:-2] == before[1][:-2]
    assert second["messages"][-1]["content"] == "8"
    assert await client.get(f"/threads/{thread}/runs/{run['id']}") == run
    fork = await client.get(f"/threads/{new['thread_id']}/runs/{new['run_id']}")
    assert fork["instructions"] == "Be brief."


async def test_repeated_reruns(client: Client, database_url: str, model: ScriptedServer) -> None:
    model.script(says("One"))
    run = await client.settled(await run_of(client, "Hi"))
    model.script(says("One"), says("Two"), says("Two"))
    code, output, report = await command(database_url, "rerun", run["id"], "--repeat", "3")
    assert code == 0, report
    assert "2 distinct answers" in output
    assert "2 ×: Two" in output
    assert "1 × (as recorded): One" in output
    assert "3 completed" in output
    model.script(says("Two"))
    code, output, report = await command(database_url, "rerun", run["id"])
    assert code == 0, report
    assert "One" in output
    assert "Two" in output
    assert f"recorded: {run['id']} in {run['thread_id']}\n" in output
    assert "rerun status: completed\n" in output
    model.script(says("Two"))
    terminal = {"FORCE_COLOR": "1", "NO_COLOR": "1", "COLUMNS": "80"}
    code, output, report = await command(database_url, "rerun", run["id"], **terminal)
    assert code == 0, report
    assert f"recorded: {run['id']} in {run['thread_id']}\n" in output
    assert re.search(r"^rerun: run_\w{24} in thread_\w{24}$", output, re.MULTILINE)
    assert "…" not in output


async def test_a_call_without_a_recorded_output(
    client: Client, database_url: str, model: ScriptedServer, pool: Pool
) -> None:
    thread, _ = await conversation(client, model)
    run, _ = await listed(client, f"/threads/{thread}/runs")
    model.script(calls(("weather", {"city": "Rome"})))
    code, output, report = await command(database_url, "rerun", run["id"])
    assert (code, output) == (1, "")
    assert 'weather({"city":"Rome"}), for which no output is recorded: it was cancelled.' in report.replace("\n", "")
    rows = await pool.fetch("SELECT actor, stream_id FROM events WHERE cause = $1 AND type = 'run.created'", run["id"])
    [row] = rows
    assert f" in the fork {row['stream_id']} called weather" in report
    assert row["actor"].startswith("cli:")
    [new] = await listed(client, f"/threads/{row['stream_id']}/runs")
    assert (await client.settled(new))["status"] == "cancelled"


async def test_finished_reruns_are_printed_if_the_next_one_is_refused(
    client: Client, database_url: str, model: ScriptedServer
) -> None:
    thread, _ = await conversation(client, model)
    run, _ = await listed(client, f"/threads/{thread}/runs")
    for options in ((), ("--json",)):
        model.script(calls(("weather", {"city": "Oslo"})), says("Eight, or so."), calls(("weather", {"city": "Rome"})))
        code, output, report = await command(database_url, "rerun", run["id"], "--repeat", "3", *options)
        assert code == 1
        first, last = report.strip().splitlines()
        ended = re.fullmatch(r"1 of 3: (run_\w+) in the fork (thread_\w+), completed", first)
        assert ended is not None
        assert "for which no output is recorded: it was cancelled." in last
        if options:
            [new] = json.loads(output)["reruns"]
            assert (new["run_id"], new["thread_id"]) == ended.groups()
        else:
            assert "1 completed" in output
            assert "1 ×: Eight, or so." in output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_an_interrupted_rerun_is_cancelled(
    client: Client, database_url: str, model: ScriptedServer, number: signal.Signals
) -> None:
    model.script(says("One"))
    run = await client.settled(await run_of(client, "Hi"))
    model.script(says("Two").holds("answer"))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "service.cli", "rerun", run["id"]),
        env={**os.environ, "EVERTHREAD_DATABASE_URL": database_url},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    await model.wait_for_gate("answer")
    process.send_signal(number)
    output, report = await process.communicate()
    assert (process.returncode, output) == (128 + number, b"")
    assert b"Traceback" not in report
    line = re.search(r"Interrupted: the rerun (run_\w+) in the fork (thread_\w+) was cancelled\.\n", report.decode())
    assert line is not None, report
    [new] = await listed(client, f"/threads/{line[2]}/runs")
    assert new["id"] == line[1]
    assert (await client.settled(new))["status"] == "cancelled"


async def test_a_run_that_has_not_ended(client: Client, database_url: str, model: ScriptedServer, pool: Pool) -> None:
    model.script(calls(("weather", {"city": "Rome"})))
    run = await client.settled(await run_of(client, "How warm is it?", tools=[WEATHER]))
    assert run["status"] == "requires_action"
    for options in ((), ("--json", "--repeat", "2")):
        code, output, report = await command(database_url, "rerun", run["id"], *options)
        assert (code, output) == (1, "")
        assert report.strip() == f"everthread: Run {run['id']} is requires_action: a rerun needs a run that has ended."
    assert await pool.fetchval("SELECT count(*) FROM events WHERE type = 'thread.forked'") == 0


async def test_a_rerun_needs_a_server(pool: Pool, database_url: str, db: Connection) -> None:
    from tests.events.thread.story import add, claim, finish
    from tests.events.thread.story import run as new_run
    from tests.projections.helpers import ORIGIN

    write = writer(pool)
    await make_thread(write, "thread_1")
    for act in (add("Hi"), new_run(claim=claim()), finish("Hello.")):
        await write.thread(ORIGIN, "thread_1", act)
    code, _, report = await command(database_url, "rerun", "run_1")
    assert code == 1
    assert "No server runs on this database" in report
    code, _, report = await command(database_url, "rerun", "run_2")
    assert code == 1
    assert "No run found with id 'run_2'." in report


async def test_the_fork_command(client: Client, database_url: str) -> None:
    thread = (await thread_with(client, "a", "b"))["id"]
    code, output, report = await command(database_url, "fork", thread, "--at", "2", "--metadata", "k=v")
    assert code == 0, report
    assert f"Forked from {thread} at version 2" in report
    fork: Any = await client.get(f"/threads/{output.strip()}")
    assert fork["metadata"] == {"k": "v"}
    assert len(await listed(client, f"/threads/{fork['id']}/messages")) == 1
    code, output, _ = await command(database_url, "show", fork["id"])
    assert f"forked from {thread} at version 2" in output
    code, output, _ = await command(database_url, "fork", thread, "--json")
    assert json.loads(output)["object"] == "thread"
    code, _, report = await command(database_url, "fork", "thread_none")
    assert code == 1
    assert "No thread found with id 'thread_none'." in report
    code, _, report = await command(database_url, "fork", thread, "--at", "soon")
    assert code == 1
    assert "Invalid 'at'" in report
    await assistant_with(client)
