"""code_interpreter when something fails: bad calls, deleted files, a full disk, code that fails silently."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from service.sandbox.bubblewrap import SandboxLauncher
from service.sandbox.provisioning import BEING_MADE
from service.tools.code_interpreter.texts import NEW_SESSION
from tests.client import Client
from tests.conftest import StartServer
from tests.http.helpers import assistant_with, thread_with
from tests.http.test_code_interpreter import CODE, code_steps, run_on, runs, told, upload
from tests.scripted import ScriptedServer, calls, says


@pytest.fixture
async def server(launcher: SandboxLauncher, start_server: StartServer) -> AsyncIterator[Client]:
    async with start_server(code_interpreter="on", code_warm=0, code_wall_s=120.0, code_disk_mb=32) as client:
        yield client


async def logs_of(server: Client, run: Any) -> list[str]:
    return [
        "".join(output["logs"] for output in call["code_interpreter"]["outputs"])
        for call in await code_steps(server, run)
    ]


async def test_a_call_without_code_leaves_the_session_as_it_was(server: Client, model: ScriptedServer) -> None:
    assistant = await assistant_with(server, tools=CODE)
    thread = await thread_with(server, "Go")
    bad = [calls(("code_interpreter", arguments)) for arguments in ({"foo": 1}, {})]
    model.script(runs("x = 41"), *bad, runs("x + 1"), says("42."))
    assert await logs_of(server, await run_on(server, thread, assistant)) == ["", "", "", "42\n"]
    assert NEW_SESSION not in told(model.requests[-1])


async def test_a_deleted_file_is_gone_from_the_session_and_its_name_is_anothers(
    server: Client, model: ScriptedServer
) -> None:
    first, second = await upload(server, "d.csv", b"first"), await upload(server, "d.csv", b"second")
    resources = {"code_interpreter": {"file_ids": [first]}}
    assistant = await assistant_with(server, tools=CODE, tool_resources=resources)
    attached = [{"file_id": second, "tools": CODE}]
    thread = await server.post("/threads", {"messages": [{"role": "user", "content": "Hi", "attachments": attached}]})
    model.script(runs("kept = 1; print(open('d.csv').read())"), says("first."))
    assert await logs_of(server, await run_on(server, thread, assistant)) == ["first\n"]
    await server.delete(f"/files/{first}")
    await server.post(f"/threads/{thread['id']}/messages", {"role": "user", "content": "And now?"})
    model.script(runs(f"import os; print(kept, open('d.csv').read(), os.path.exists('{first}'))"), says("second."))
    assert await logs_of(server, await run_on(server, thread, assistant)) == ["1 second False\n"]
    listed = next(one["content"] for one in model.requests[-1]["messages"] if "d.csv" in one["content"])
    assert f"/mnt/data/{second}, also /mnt/data/d.csv" in listed


async def test_a_file_that_finds_no_space_is_put_in_once_there_is_some(server: Client, model: ScriptedServer) -> None:
    assistant = await assistant_with(server, tools=CODE)
    thread = await thread_with(server, "Go")
    fill = "with open('/tmp/fill', 'wb', 0) as f:\n  while True: f.write(bytes(4096))"
    model.script(runs("kept = 1\n" + fill), says("Full."))
    await run_on(server, thread, assistant)
    late = await upload(server, "late.csv", b"late")
    message = {"role": "user", "content": "And?", "attachments": [{"file_id": late, "tools": CODE}]}
    await server.post(f"/threads/{thread['id']}/messages", message)
    model.script(
        runs("import os; os.unlink('/tmp/fill'); print(kept)"), runs("print(open('late.csv').read())"), says(".")
    )
    assert await logs_of(server, await run_on(server, thread, assistant)) == ["1\n", "late\n"]
    heard = [told(request) for request in list(model.requests)[-2:]]
    assert "Note: late.csv could not be put into /mnt/data: No space left on device." in heard[0]
    assert "Note" not in heard[1]


async def test_code_that_fails_in_silence_is_not_told_as_a_success(server: Client, model: ScriptedServer) -> None:
    assistant = await assistant_with(server, tools=CODE)
    thread = await thread_with(server, "Go")
    silent = "class E(Exception):\n  def __str__(self): raise SystemExit\nraise E()"
    model.script(runs(silent), runs("import os; os.close(1); os.close(2)"), runs("1 + 1"), says("2."))
    assert (await logs_of(server, await run_on(server, thread, assistant)))[1:] == ["", "2\n"]
    heard = [told(request) for request in list(model.requests)[1:]]
    assert "without error" not in heard[0]
    assert heard[1] == "[The code ran without error and printed nothing.]"


async def test_while_the_sandboxs_python_is_made_a_run_waits_for_it(
    start_server: StartServer, model: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = tmp_path / "begun", tmp_path / "go_on"
    os.mkfifo(go_on)
    making = "import sys; open(sys.argv[1], 'w').close(); open(sys.argv[2]).read(); sys.exit('everthread: no network')"
    monkeypatch.setattr("service.sandbox.provisioning.COMMAND", [sys.executable, "-c", making, str(begun), str(go_on)])
    async with start_server(code_interpreter="on", sandbox_dir=tmp_path / "none", sandbox_install=True) as server:
        health = server.base_url.removesuffix("/v1") + "/healthz"
        while not begun.exists():
            await asyncio.sleep(0.01)
        said = await (await server.session.get(health)).json()
        assert (said["status"], said["code_interpreter"]) == ("ok", f"starting: {BEING_MADE}")
        assistant = await assistant_with(server, tools=CODE)
        threads = [await thread_with(server, "Go"), await thread_with(server, "Go")]
        model.script(runs("1"), runs("1"))
        waiting = [
            await server.post(f"/threads/{thread['id']}/runs", {"assistant_id": assistant["id"]}) for thread in threads
        ]
        for run in waiting:
            while not await code_steps(server, run):
                await asyncio.sleep(0.01)
        await server.post(f"/threads/{threads[0]['id']}/runs/{waiting[0]['id']}/cancel", {})
        assert (await server.settled(waiting[0]))["status"] == "cancelled"
        go_on.write_text("")
        failed = await server.settled(waiting[1])
        assert failed["status"] == "failed"
        assert failed["last_error"]["message"] == (
            "Tools of type 'code_interpreter' are off on this server: no network."
        )
