"""code_interpreter where something is amiss: bad calls, deleted files, a full disk, code that fails in silence."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from service.tools.code_text import ANEW
from service.tools.sandbox.jail import Jail
from tests.client import Client
from tests.conftest import StartServer
from tests.http.helpers import assistant_with, thread_with
from tests.http.test_code_interpreter import CODE, code_steps, run_on, runs, told, upload
from tests.scripted import ScriptedServer, calls, says


@pytest.fixture
async def server(jail: Jail, start_server: StartServer) -> AsyncIterator[Client]:
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
    assert ANEW not in told(model.requests[-1])


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
