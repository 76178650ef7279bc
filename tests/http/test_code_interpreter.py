"""code_interpreter over HTTP with a real server, a real sandbox, and a scripted model that writes the code."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from service.sandbox.bubblewrap import SandboxLauncher
from service.tools.code_interpreter.texts import NEW_SESSION
from service.wire.filenames import OCTETS
from tests.client import V1, Client
from tests.conftest import StartServer
from tests.http import files
from tests.http.helpers import assistant_with, thread_with
from tests.scripted import ScriptedServer, calls, says
from tests.wire.sse.stream_rules import add_delta

CODE = [{"type": "code_interpreter"}]
PLOT = "import matplotlib.pyplot as plt\nprint('before')\nplt.plot([1, 2])\nplt.show()\nprint('after')"


@pytest.fixture
async def server(launcher: SandboxLauncher, start_server: StartServer) -> AsyncIterator[Client]:
    """Starts a server that runs code. It keeps no warm sandbox, so each call that needs one makes it."""
    async with start_server(code_interpreter="on", code_warm=0, code_wall_s=60.0) as client:
        yield client


def runs(code: str) -> Any:
    return calls(("code_interpreter", {"code": code}))


async def upload(client: Client, name: str, content: bytes) -> str:
    made: str = (await files.upload(client, content, filename=f'filename="{name}"', kind=OCTETS))["id"]
    return made


async def content(client: Client, file_id: str) -> bytes:
    status, found, _ = await files.download(client, file_id)
    assert status == 200
    return found


async def run_on(client: Client, thread: Any, assistant: Any, **more: Any) -> Any:
    run = await client.post(f"/threads/{thread['id']}/runs", {"assistant_id": assistant["id"], **more})
    return await client.settled(run)


async def code_steps(client: Client, run: Any) -> list[Any]:
    """Returns the tool calls of a run's steps, oldest first."""
    path = f"/threads/{run['thread_id']}/runs/{run['id']}/steps"
    steps = (await client.get(path, order="asc"))["data"]
    return [call for step in steps for call in step["step_details"].get("tool_calls", ())]


def told(request: Any) -> str:
    """Returns the last result of the call that the model received."""
    found: str = [message for message in request["messages"] if message["role"] == "tool"][-1]["content"]
    return found


async def test_code_runs_and_the_session_keeps_its_state(server: Client, model: ScriptedServer) -> None:
    assistant = await assistant_with(server, tools=CODE)
    thread = await thread_with(server, "What is 1234*5678?")
    model.script(runs("x = 1234 * 5678\nx"), runs("print(x + 1)"), says("It is 7006652."), runs("x + 2"), says("Yes."))
    done = await run_on(server, thread, assistant)
    assert done["status"] == "completed"
    first, second = await code_steps(server, done)
    assert first["code_interpreter"] == {
        "input": "x = 1234 * 5678\nx",
        "outputs": [{"type": "logs", "logs": "7006652\n"}],
    }
    assert second["code_interpreter"]["outputs"] == [{"type": "logs", "logs": "7006653\n"}]
    request = await model.next_request()
    assert [tool["function"]["name"] for tool in request["tools"]] == ["code_interpreter"]
    await server.post(f"/threads/{thread['id']}/messages", {"role": "user", "content": "And then?"})
    [third] = await code_steps(server, await run_on(server, thread, assistant))
    assert third["code_interpreter"]["outputs"] == [{"type": "logs", "logs": "7006654\n"}]
    assert NEW_SESSION not in told(model.requests[-1])


async def test_a_fork_has_the_files_that_code_made(
    launcher: SandboxLauncher, start_server: StartServer, model: ScriptedServer
) -> None:
    """The fork works in a session of its own, on another process: neither changes the files of the other."""
    settings: dict[str, Any] = {"code_interpreter": "on", "code_warm": 0, "code_wall_s": 60.0}
    async with start_server(**settings) as one, start_server(**settings) as other:
        assistant, thread = await assistant_with(one, tools=CODE), await thread_with(one, "Write")
        model.script(runs("open('kept.txt', 'w').write('old')"), says("Done."))
        await run_on(one, thread, assistant)
        fork = await other.post(f"/threads/{thread['id']}/fork")
        model.script(runs("print(open('kept.txt').read())\nopen('kept.txt', 'w').write('new')"), says("Done."))
        [call] = await code_steps(other, await run_on(other, fork, assistant))
        assert call["code_interpreter"]["outputs"][0]["logs"].startswith("old\n")
        model.script(runs("print(open('kept.txt').read())"), says("Done."))
        [call] = await code_steps(one, await run_on(one, thread, assistant))
        assert call["code_interpreter"]["outputs"] == [{"type": "logs", "logs": "old\n"}]


async def test_files_go_in_and_what_code_made_comes_out(server: Client, model: ScriptedServer) -> None:
    csv = b"city,people\nRome,3\nOslo,1\n"
    of_assistant, of_message = await upload(server, "towns.csv", csv), await upload(server, "note.txt", b"Buon giorno")
    resources = {"code_interpreter": {"file_ids": [of_assistant]}}
    assistant = await assistant_with(server, tools=CODE, tool_resources=resources)
    attached = [{"file_id": of_message, "tools": CODE}]
    thread = await server.post(
        "/threads", {"messages": [{"role": "user", "content": "How many?", "attachments": attached}]}
    )
    model.script(
        runs(
            "import pandas as pd\ntowns = pd.read_csv('towns.csv')\n"
            f"print(open('{of_assistant}').read() == open('towns.csv').read())\n"
            "print(open('/mnt/data/note.txt').read())\ntowns.people.sum()"
        ),
        runs(PLOT + "\ntowns.to_json('towns.json')"),
        says("Four, see [the file](sandbox:/mnt/data/towns.json) and sandbox:/mnt/data/none.csv.", pieces=20),
    )
    done = await run_on(server, thread, assistant)
    first, second = await code_steps(server, done)
    assert first["code_interpreter"]["outputs"] == [{"type": "logs", "logs": "True\nBuon giorno\nnp.int64(4)\n"}]
    logs, image, more = second["code_interpreter"]["outputs"]
    assert (logs["logs"], more["logs"]) == ("before\n", "after\n")
    listed = next(one["content"] for one in (await model.next_request())["messages"] if "towns.csv" in one["content"])
    assert f"/mnt/data/{of_assistant}, also /mnt/data/towns.csv" in listed
    assert "Files made or changed: /mnt/data/towns.json" in told(model.requests[-1])

    message = (await server.get(f"/threads/{thread['id']}/messages"))["data"][0]
    picture, text = message["content"]
    assert picture == {"type": "image_file", "image_file": {"file_id": image["image"]["file_id"]}}
    [annotation] = text["text"]["annotations"]
    made = annotation["file_path"]["file_id"]
    assert annotation["text"] == "sandbox:/mnt/data/towns.json"
    assert text["text"]["value"][annotation["start_index"] : annotation["end_index"]] == annotation["text"]
    assert message["attachments"] == [{"file_id": made, "tools": CODE}]
    assert (await content(server, image["image"]["file_id"])).startswith(b"\x89PNG")
    assert (await content(server, made)).startswith(b'{"city":{"0":"Rome"')
    shown = await server.get(f"/files/{made}")
    assert (shown["purpose"], shown["filename"]) == ("assistants_output", "towns.json")

    # The file arrives while the session is open, in one of the forms of version 1.
    late = await upload(server, "late.txt", b"better than never")
    model.script(runs("print(open('late.txt').read(), len(towns))"), says("Never."))
    v1 = Client(server.base_url, beta=V1)
    async with v1:
        await v1.post(f"/threads/{thread['id']}/messages", {"role": "user", "content": "And?", "file_ids": [late]})
        [call] = await code_steps(v1, await run_on(v1, thread, assistant))
    assert call["code_interpreter"]["outputs"] == [{"type": "logs", "logs": "better than never 2\n"}]


async def test_a_stream_shows_code_and_outputs_as_they_come(server: Client, model: ScriptedServer) -> None:
    assistant = await assistant_with(server, tools=CODE)
    thread = await thread_with(server, "Plot it")
    code = PLOT + "\nopen('a.txt', 'w').write('x');"
    model.script(runs(code), says("Done: sandbox:/mnt/data/a.txt", pieces=9))
    frames = await server.frames(f"/threads/{thread['id']}/runs", {"assistant_id": assistant["id"], "stream": True})
    call: dict[str, Any] = {}
    message: dict[int, Any] = {}
    for frame in frames:
        if frame.event == "thread.run.step.delta":
            for piece in frame.data["delta"]["step_details"].get("tool_calls", ()):
                assert piece.pop("index") == 0
                add_delta(call, piece)
        if frame.event == "thread.message.delta":
            for part in frame.data["delta"]["content"]:
                add_delta(message.setdefault(part.pop("index"), {}), part)
    assert call["code_interpreter"]["input"] == code
    assert [output["type"] for output in call["code_interpreter"]["outputs"]] == ["logs", "image", "logs"]
    run = next(frame.data for frame in frames if frame.event == "thread.run.completed")
    assert [call] == await code_steps(server, run)
    [stored] = (await server.get(f"/threads/{thread['id']}/messages", run_id=run["id"]))["data"]
    assert [part["type"] for part in stored["content"]] == ["image_file", "text"]
    assert message[1]["text"]["value"] == stored["content"][1]["text"]["value"]
    assert message[1]["text"]["annotations"] == stored["content"][1]["text"]["annotations"] != []


async def test_what_goes_wrong_goes_back_to_the_model(server: Client, model: ScriptedServer) -> None:
    assistant = await assistant_with(server, tools=CODE)
    thread = await thread_with(server, "Divide")
    model.script(
        runs("x = 5\n1 / 0"),
        runs("print('a' * 900_000, x, 'end')"),
        runs("import os; os._exit(1)"),
        runs("print(x)"),
        says("Never mind."),
    )
    done = await run_on(server, thread, assistant)
    assert done["status"] == "completed"
    error, long, gone, after = await code_steps(server, done)
    assert "ZeroDivisionError" in error["code_interpreter"]["outputs"][0]["logs"]
    assert len(long["code_interpreter"]["outputs"][0]["logs"]) > 900_000
    assert gone["code_interpreter"]["outputs"] == []
    assert "NameError" in after["code_interpreter"]["outputs"][0]["logs"]
    heard = [told(request) for request in list(model.requests)[1:]]
    assert "division by zero" in heard[0]
    assert len(heard[1]) < 101_000
    assert "characters of the output are left out here" in heard[1]
    assert " 5 end" in heard[1]
    assert "the Python session was lost: Python ended (exit 1)" in heard[2]
    assert NEW_SESSION in heard[3]
    counted = await server.session.get(server.base_url.removesuffix("/v1") + "/metrics")
    text = await counted.text()
    assert 'everthread_sandboxes{state="session"} 1.0' in text
    assert "everthread_sandboxes_lost_total 1.0" in text


async def test_after_a_restart_files_are_back_and_the_model_is_told(
    launcher: SandboxLauncher, start_server: StartServer, model: ScriptedServer
) -> None:
    async with start_server(code_interpreter="on", code_warm=0) as server:
        given = await upload(server, "given.txt", b"given")
        assistant = await assistant_with(server, tools=CODE)
        thread = await server.post("/threads", {"tool_resources": {"code_interpreter": {"file_ids": [given]}}})
        await server.post(f"/threads/{thread['id']}/messages", {"role": "user", "content": "Go"})
        write = "import os; os.makedirs('out', exist_ok=True)\nx = 1\nopen('out/made.txt', 'w').write('{}');"
        model.script(runs(write.format("old")), runs(write.format("new")), says("One."))
        await run_on(server, thread, assistant)
    async with start_server(code_interpreter="on", code_warm=0) as server:
        await server.post(f"/threads/{thread['id']}/messages", {"role": "user", "content": "Again"})
        model.script(runs("print('x' in dir(), open('out/made.txt').read(), open('given.txt').read())"), says("Two."))
        [call] = await code_steps(server, await run_on(server, thread, assistant))
        assert call["code_interpreter"]["outputs"] == [{"type": "logs", "logs": "False new given\n"}]
        assert NEW_SESSION in told(model.requests[-1])


@pytest.mark.slow
async def test_without_a_sandbox_no_code_runs_and_everybody_is_told_why(
    start_server: StartServer, model: ScriptedServer, tmp_path: Path
) -> None:
    nowhere = tmp_path / "nowhere"
    async with start_server(code_interpreter="on", sandbox_dir=nowhere) as server:
        assistant = await assistant_with(server, tools=CODE)
        thread = await thread_with(server, "Hi")
        done = await run_on(server, thread, assistant)
        assert done["status"] == "failed"
        message = done["last_error"]["message"]
        assert message.startswith("Tools of type 'code_interpreter' are off on this server: the Python for the sandbox")
        assert message.endswith("run `everthread sandbox install`.")
        health = await server.session.get(server.base_url.removesuffix("/v1") + "/healthz")
        assert health.status == 200
        assert (await health.json())["code_interpreter"].startswith("off: the Python for the sandbox is not at")
        model.script(says("Fine."))
        plain = await run_on(server, await thread_with(server, "Hi"), await assistant_with(server))
        assert plain["status"] == "completed"
