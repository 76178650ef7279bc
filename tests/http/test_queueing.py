"""Queueing behind an active run, over HTTP: by the setting, by the header, and not at all."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import service.feed
import service.http.stream_sender
from events.thread.queue import MAX_WAITING_RUNS
from tests.client import V1, V2, WAIT_S, Client
from tests.conftest import StartServer
from tests.http.helpers import run_of, said_by
from tests.scripted import ScriptedServer, calls, hangs, says

WEATHER = {"type": "function", "function": {"name": "weather"}}
QUEUE = {"Everthread-Busy": "queue"}
REJECT = {"Everthread-Busy": "reject"}


def heard(request: Any) -> list[str]:
    return [message["content"] for message in request["messages"]]


async def busy(client: Client, model: ScriptedServer) -> Any:
    """Starts a run that waits at the gate "first"."""
    run = await run_of(client, "Hi")
    await model.wait_for_gate("first")
    return run


@pytest.mark.slow
@pytest.mark.parametrize("beta", [V1, V2])
async def test_a_whole_conversation_is_queued(client: Client, model: ScriptedServer, beta: str) -> None:
    model.script(says("One").waits("first"), says("Two"), says("Three"))
    client.headers["OpenAI-Beta"] = beta
    first = await busy(client, model)
    client.headers |= QUEUE
    path = f"/threads/{first['thread_id']}"
    said = await client.post(path + "/messages", {"role": "user", "content": "And?"})
    asked = {"assistant_id": first["assistant_id"]}
    second = await client.post(path + "/runs", asked)
    assert (second["status"], second["expires_at"], second["started_at"]) == ("queued", None, None)
    third = await client.post(path + "/runs", {**asked, "instructions": "Short.", "metadata": {"n": "3"}})
    assert await client.get(f"{path}/runs/{second['id']}") == second
    assert [run["id"] for run in (await client.get(path + "/runs"))["data"]] == [third["id"], second["id"], first["id"]]
    assert (await client.get(path + "/messages"))["data"][0]["id"] == said["id"]
    await client.post(f"/assistants/{first['assistant_id']}", {"model": "another", "instructions": "Long."})
    model.open_gate("first")
    done = await client.settled(third)
    assert (done["status"], done["instructions"], done["metadata"]) == ("completed", "Short.", {"n": "3"})
    assert await said_by(client, second) == ["Two"]
    assert [heard(await model.next_request()) for _ in range(3)] == [
        ["Hi"],
        ["Hi", "One", "And?"],
        ["Short.", "Hi", "One", "And?", "Two"],
    ]
    assert [request["model"] for request in model.requests] == ["gpt-4o"] * 3, "settings are those of its creation"


async def test_a_run_interrupts_the_active_one(client: Client, model: ScriptedServer) -> None:
    model.script(says("One").waits("first"), says("Two"))
    first = await busy(client, model)
    path, asked = f"/threads/{first['thread_id']}", {"assistant_id": first["assistant_id"]}
    client.headers["Everthread-Busy"] = "interrupt"
    message = {"role": "user", "content": "Stop"}
    assert (await client.call("POST", path + "/messages", message)).status == 400, "only a run interrupts"
    second = await client.post(path + "/runs", {**asked, "additional_messages": [message]})
    assert (await client.settled(second))["status"] == "completed"
    assert (await client.get(f"{path}/runs/{first['id']}"))["status"] == "cancelled"
    assert await said_by(client, second) == ["Two"]


async def test_the_stream_of_a_queued_run_waits(client: Client, model: ScriptedServer) -> None:
    model.script(says("One").waits("first"), says("Two"))
    first = await busy(client, model)
    client.headers |= QUEUE
    asked = {
        "assistant_id": first["assistant_id"],
        "stream": True,
        "additional_messages": [{"role": "user", "content": "And?"}],
    }
    frames = []
    async for frame in client.stream(f"/threads/{first['thread_id']}/runs", asked):
        frames.append(frame)
        if frame.event == "thread.run.queued":
            shown = frame.data
            # The active run continues, and this stream shows nothing of it.
            model.open_gate("first")
    kinds = [frame.event for frame in frames]
    assert kinds[:3] == ["thread.run.created", "thread.run.queued", "thread.run.in_progress"]
    assert kinds[-2:] == ["thread.run.completed", "done"]
    assert shown["expires_at"] is None
    assert frames[2].data["expires_at"] >= shown["created_at"] + 600
    assert {
        frame.data["id"] for frame in frames if frame.event.startswith("thread.run.") and "step" not in frame.event
    } == {shown["id"]}
    assert [f.data["delta"]["content"][0]["text"]["value"] for f in frames if f.event == "thread.message.delta"] == [
        "Two"
    ]


async def test_a_stream_that_waits_says_that_it_is_there(
    client: Client, model: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service.feed, "POLL", 0.01)
    monkeypatch.setattr(service.http.stream_sender, "KEEP_ALIVE_S", 0.0)
    model.script(says("One").waits("first"), says("Two"))
    first = await busy(client, model)
    url = f"{client.base_url}/threads/{first['thread_id']}/runs"
    body = {"assistant_id": first["assistant_id"], "stream": True}
    async with client.session.post(url, json=body, headers={**client.headers, **QUEUE}) as response:
        seen = b""
        while seen.count(b"\n: keep-alive\n") < 2:
            seen += await response.content.readany()
        model.open_gate("first")
        seen += await response.read()
    assert client.checked_frames(seen)[-1].event == "done"
    assert b": keep-alive\n\n" not in seen, "official SDKs take an empty line for an event, after one with an id"


async def test_a_queued_run_is_modified_and_cancelled(client: Client, model: ScriptedServer) -> None:
    model.script(says("One").waits("first"), says("Three"))
    first = await busy(client, model)
    client.headers |= QUEUE
    path = f"/threads/{first['thread_id']}/runs"
    asked = {"assistant_id": first["assistant_id"]}
    second, third = await client.post(path, asked), await client.post(path, asked)
    assert (await client.post(f"{path}/{third['id']}", {"metadata": {"a": "b"}}))["metadata"] == {"a": "b"}
    outputs = await client.call(
        "POST",
        f"{path}/{second['id']}/submit_tool_outputs",
        {"tool_outputs": [{"tool_call_id": "call_1", "output": "x"}]},
    )
    assert outputs.error == (400, 'Runs in status "queued" do not accept tool outputs.', None, None)
    assert (await client.post(f"{path}/{second['id']}/cancel"))["status"] == "cancelling"
    assert (await client.get(f"{path}/{second['id']}"))["status"] == "cancelled"
    model.open_gate("first")
    assert (await client.settled(third))["metadata"] == {"a": "b"}
    assert len(model.requests) == 2


async def test_cancelling_the_first_lets_the_next_begin(client: Client, model: ScriptedServer) -> None:
    model.script(calls(("weather", {})), says("Two"))
    first = await client.settled(await run_of(client, "Weather?", tools=[WEATHER]))
    client.headers |= QUEUE
    path = f"/threads/{first['thread_id']}/runs"
    second = await client.post(path, {"assistant_id": first["assistant_id"]})
    assert (await client.post(f"{path}/{first['id']}/cancel"))["status"] == "cancelling"
    assert (await client.settled(second))["status"] == "completed"


async def test_deleting_the_thread_ends_all_that_wait(client: Client, model: ScriptedServer) -> None:
    model.script(hangs(after=2))
    first = await run_of(client, "Hi")
    await model.next_request()
    client.headers |= QUEUE
    path = f"/threads/{first['thread_id']}"
    stream = client.stream(path + "/runs", {"assistant_id": first["assistant_id"], "stream": True})
    frames = [await anext(stream), await anext(stream)]
    await client.delete(path)
    frames += [frame async for frame in stream]
    assert [frame.event for frame in frames[2:]] == ["thread.run.cancelling", "thread.run.cancelled", "done"]
    assert len(model.requests) == 1


async def test_the_queue_has_an_end(client: Client, model: ScriptedServer) -> None:
    model.script(says("One").waits("first"))
    first = await busy(client, model)
    client.headers |= QUEUE
    path = f"/threads/{first['thread_id']}"
    asked = {"assistant_id": first["assistant_id"], "additional_messages": [{"role": "user", "content": "More"}]}
    for _ in range(MAX_WAITING_RUNS):
        await client.post(path + "/runs", asked)
    refused = await client.call("POST", path + "/runs", asked)
    assert refused.error[0::3] == (400, "thread_queue_full")
    assert f"has {MAX_WAITING_RUNS} runs waiting" in refused.error[1]
    assert len((await client.get(path + "/messages"))["data"]) == 1 + MAX_WAITING_RUNS
    await client.delete(path)


async def test_the_setting_and_the_header(start_server: StartServer, model: ScriptedServer) -> None:
    model.script(says("One").waits("first"))
    async with start_server(busy="queue") as client:
        first = await busy(client, model)
        path = f"/threads/{first['thread_id']}"
        message, run = {"role": "user", "content": "More"}, {"assistant_id": first["assistant_id"]}
        assert (await client.call("POST", path + "/messages", message)).status == 200
        assert (await client.call("POST", path + "/runs", run)).status == 200
        text = f"Can't add messages to {first['thread_id']} while a run {first['id']} is active."
        refused = await client.call("POST", path + "/messages", message, headers=REJECT)
        assert refused.error == (400, text, None, None)
        text = f"Thread {first['thread_id']} already has an active run {first['id']}."
        refused = await client.call("POST", path + "/runs", run, headers=REJECT)
        assert refused.error == (400, text, None, None)
        for wrong in ("", "later", "queue, reject"):
            refused = await client.call("POST", path + "/runs", run, headers={"Everthread-Busy": wrong})
            assert refused.status == 400
            assert "'reject', 'queue'" in refused.error[1]
        await client.delete(path)


async def test_those_that_wait_are_counted_as_queued(client: Client, model: ScriptedServer) -> None:
    model.script(says("One").waits("first"))
    first = await busy(client, model)
    client.headers |= QUEUE
    second = await client.post(f"/threads/{first['thread_id']}/runs", {"assistant_id": first["assistant_id"]})
    async with client.session.get(client.base_url.removesuffix("/v1") + "/metrics") as response:
        assert 'everthread_runs_active{status="queued"} 1.0' in await response.text()
    model.open_gate("first")
    async with asyncio.timeout(WAIT_S):
        await client.settled(second)
