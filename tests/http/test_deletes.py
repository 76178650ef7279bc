"""DELETE succeeds in every state of an object, for any client, and exactly once if several requests race."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from service.database import Pool
from service.storage.base import StorageError
from service.storage.folder import FolderBlobs
from tests.client import Client
from tests.conftest import StartServer
from tests.http.files import blobs_in, download, upload
from tests.http.helpers import assistant_with, said_by, thread_with
from tests.scripted import ScriptedServer, calls, hangs, says

WEATHER = {"type": "function", "function": {"name": "weather"}}
STATES = ("in_progress", "requires_action", "cancelling", "completed", "cancelled")


async def at_once(client: Client, path: str, times: int = 8) -> list[int]:
    """Sends that many deletes at the same time, and returns their statuses, the lowest first."""
    return sorted(
        [answer.status for answer in await asyncio.gather(*(client.call("DELETE", path) for _ in range(times)))]
    )


async def run_in(client: Client, model: ScriptedServer, state: str) -> Any:
    """Creates a run on a thread of its own. The next answers of the model are already scripted."""
    model.script({"requires_action": calls(("weather", {})), "completed": says("Fine")}.get(state, hangs()))
    assistant, thread = await assistant_with(client, tools=[WEATHER]), await thread_with(client, "Hi")
    path = f"/threads/{thread['id']}/runs"
    run = await client.post(path, {"assistant_id": assistant["id"]})
    if state in ("in_progress", "cancelling", "cancelled"):
        await model.next_request()
    if state in ("cancelling", "cancelled"):
        await client.post(f"{path}/{run['id']}/cancel")
    if state not in ("in_progress", "cancelling"):
        run = await client.settled(run)
        assert run["status"] == state
    return run


@pytest.mark.slow
@pytest.mark.parametrize("state", STATES)
async def test_threads_in_any_state(client: Client, model: ScriptedServer, pool: Pool, state: str) -> None:
    run = await run_in(client, model, state)
    path = f"/threads/{run['thread_id']}"
    assert await at_once(client, path) == [200, *[404] * 7]
    again = await client.call("DELETE", path)
    assert again.error[:2] == (404, f"No thread found with id '{run['thread_id']}'.")
    for gone in (path, f"{path}/messages", f"{path}/runs/{run['id']}", f"{path}/runs/{run['id']}/steps"):
        assert (await client.call("GET", gone)).status == 404
    assert await pool.fetchval("SELECT count(*) FROM runs WHERE thread_id = $1", run["thread_id"]) == 0
    assert await pool.fetchval("SELECT count(*) FROM messages WHERE thread_id = $1", run["thread_id"]) == 0
    if state in ("in_progress", "cancelling"):
        await model.wait_for_disconnect()


async def test_threads_whose_run_waits_for_room(start_server: StartServer, model: ScriptedServer) -> None:
    model.script(hangs(), calls(("weather", {})))
    async with start_server(max_runs=1) as client:
        assistant = await assistant_with(client, tools=[WEATHER])
        busy, waiting = [await thread_with(client, "Hi") for _ in range(2)]
        for thread in (busy, waiting):
            run = await client.post(f"/threads/{thread['id']}/runs", {"assistant_id": assistant["id"]})
        await model.next_request()
        assert (await client.get(f"/threads/{waiting['id']}/runs/{run['id']}"))["status"] == "queued"
        for thread in (waiting, busy):
            assert (await client.delete(f"/threads/{thread['id']}"))["deleted"]
        free = await thread_with(client, "Hi")
        run = await client.post(f"/threads/{free['id']}/runs", {"assistant_id": assistant["id"]})
        assert (await client.settled(run))["status"] == "requires_action", "there is room again"


async def test_a_stream_ends_with_its_thread(client: Client, model: ScriptedServer) -> None:
    model.script(says("one two", pieces=["one", " two"]).waits("middle", before=2))
    assistant, thread = await assistant_with(client), await thread_with(client, "Hi")
    stream = client.stream(f"/threads/{thread['id']}/runs", {"assistant_id": assistant["id"], "stream": True})
    frames = [await anext(stream)]
    await model.wait_for_gate("middle")
    assert await at_once(client, f"/threads/{thread['id']}") == [200, *[404] * 7]
    frames += [frame async for frame in stream]
    assert [frame.event for frame in frames[-2:]] == ["thread.run.cancelled", "done"]


@pytest.mark.slow
async def test_from_two_processes_while_the_run_ends(
    start_server: StartServer, model: ScriptedServer, tmp_path: Path
) -> None:
    async with start_server() as one, start_server() as two:
        assistant = await assistant_with(one)
        for number in range(8):
            model.script(says("one two three", pieces=3))
            thread = await thread_with(one, "Hi")
            path = f"/threads/{thread['id']}"
            await one.post(f"{path}/runs", {"assistant_id": assistant["id"]})
            if number % 2:
                await model.next_request()
            answers = await asyncio.gather(*(client.call("DELETE", path) for client in (one, two)))
            assert sorted(answer.status for answer in answers) == [200, 404]


async def test_an_assistant_whose_runs_go_on(client: Client, model: ScriptedServer) -> None:
    model.script(calls(("weather", {})), says("Sunny").waits("speaking", before=1))
    assistant, thread = await assistant_with(client, tools=[WEATHER]), await thread_with(client, "Hi")
    path = f"/threads/{thread['id']}/runs"
    run = await client.settled(await client.post(path, {"assistant_id": assistant["id"]}))
    assert await at_once(client, f"/assistants/{assistant['id']}") == [200, *[404] * 7]
    [call] = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    outputs = {"tool_outputs": [{"tool_call_id": call["id"], "output": "sun"}]}
    await client.post(f"{path}/{run['id']}/submit_tool_outputs", outputs)
    await model.wait_for_gate("speaking")
    assert (await client.call("DELETE", f"/assistants/{assistant['id']}")).status == 404
    model.open_gate("speaking")
    assert (await client.settled(run))["status"] == "completed"
    assert await said_by(client, run) == ["Sunny"]
    refused = await client.call("POST", path, {"assistant_id": assistant["id"]})
    assert refused.error[:2] == (404, f"No assistant found with id '{assistant['id']}'.")


async def test_a_file_in_use(client: Client, model: ScriptedServer, tmp_path: Path) -> None:
    file = await upload(client)
    held = {"tool_resources": {"code_interpreter": {"file_ids": [file["id"]]}}}
    assistant = await client.post("/assistants", {"model": "gpt-4o", "tools": [{"type": "code_interpreter"}], **held})
    attached = {"attachments": [{"file_id": file["id"], "tools": [{"type": "code_interpreter"}]}]}
    thread = await client.post("/threads", {**held, "messages": [{"role": "user", "content": "Hi", **attached}]})
    model.script(says("Fine").waits("speaking", before=1))
    plain = await assistant_with(client)
    run = await client.post(f"/threads/{thread['id']}/runs", {"assistant_id": plain["id"]})
    await model.wait_for_gate("speaking")
    assert await at_once(client, f"/files/{file['id']}") == [200, *[404] * 7]
    model.open_gate("speaking")
    assert (await client.settled(run))["status"] == "completed"
    assert (await download(client, file["id"]))[0] == 404
    assert blobs_in(tmp_path) == []
    shown = [await client.get(f"/assistants/{assistant['id']}"), await client.get(f"/threads/{thread['id']}")]
    assert file["id"] not in str(shown)
    for path in (f"/threads/{thread['id']}", f"/assistants/{assistant['id']}"):
        await client.delete(path)


async def test_a_file_that_is_being_read(client: Client) -> None:
    content = bytes(8 * 1024 * 1024)
    file = await upload(client, content)
    url = f"{client.base_url}/files/{file['id']}/content"
    async with client.session.get(url, headers=client.headers) as response:
        await client.delete(f"/files/{file['id']}")
        with suppress(aiohttp.ClientPayloadError):  # the stream may break off, but it must not claim to be complete
            assert await response.read() == content


async def test_bytes_that_cannot_be_deleted_now(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is deleted all the same; the sweep finds its bytes."""
    file = await upload(client)

    async def fails(self: FolderBlobs, keys: Any) -> None:
        raise StorageError("The disk is away.")

    monkeypatch.setattr(FolderBlobs, "delete", fails)
    assert (await client.delete(f"/files/{file['id']}"))["deleted"] is True
    assert (await client.call("DELETE", f"/files/{file['id']}")).status == 404


async def test_messages_twice_and_at_once(client: Client, model: ScriptedServer) -> None:
    model.script(hangs())
    assistant, thread = await assistant_with(client), await thread_with(client, "Hi", "Ho")
    path = f"/threads/{thread['id']}"
    await client.post(f"{path}/runs", {"assistant_id": assistant["id"]})
    await model.next_request()
    [first, _] = (await client.get(f"{path}/messages"))["data"]
    assert await at_once(client, f"{path}/messages/{first['id']}") == [200, *[404] * 7]
    await client.delete(path)
    assert (await client.call("DELETE", f"{path}/messages/{first['id']}")).status == 404
