"""The order of server-sent events (docs/behaviour.md, "Order of events"), for every course of a run."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from service.database import connect
from tests.client import V1, Client, Frame
from tests.clock import WallClock
from tests.http.helpers import assistant_with, thread_with
from tests.scripted import ScriptedServer, calls, cuts_off, errors, hangs, hits_filter, refuses, says

WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
BEGIN = ["thread.run.created", "thread.run.queued", "thread.run.in_progress"]
OPEN_MESSAGE = [
    "thread.run.step.created",
    "thread.run.step.in_progress",
    "thread.message.created",
    "thread.message.in_progress",
]
OPEN_TOOLS = ["thread.run.step.created", "thread.run.step.in_progress", "thread.run.step.delta"]
DONE = ["done"]


async def streamed(client: Client, text: str = "Hi", **settings: Any) -> list[Frame]:
    assistant = await assistant_with(client, **settings)
    thread = await thread_with(client, text)
    return await client.frames(f"/threads/{thread['id']}/runs", {"assistant_id": assistant["id"], "stream": True})


def names(frames: list[Frame]) -> list[str]:
    """Returns the names of the events in order, with consecutive deltas as one."""
    found: list[str] = []
    for frame in frames:
        if not (frame.event.endswith(".delta") and found and found[-1] == frame.event):
            found.append(frame.event)
    return found


def text_of(frames: list[Frame]) -> str:
    return "".join(
        part["text"]["value"]
        for frame in frames
        if frame.event == "thread.message.delta"
        for part in frame.data["delta"]["content"]
    )


def last(frames: list[Frame], event: str) -> Any:
    return [frame.data for frame in frames if frame.event == event][-1]


async def test_text(client: Client, model: ScriptedServer) -> None:
    model.script(says("one two three", pieces=3))
    frames = await streamed(client)
    assert names(frames) == [
        *BEGIN,
        *OPEN_MESSAGE,
        "thread.message.delta",
        "thread.message.completed",
        "thread.run.step.completed",
        "thread.run.completed",
        *DONE,
    ]
    assert text_of(frames) == "one two three"
    assert [frame.event for frame in frames].count("thread.message.delta") == 3
    run, message = last(frames, "thread.run.completed"), last(frames, "thread.message.completed")
    assert message["content"] == [{"type": "text", "text": {"value": "one two three", "annotations": []}}]
    path = f"/threads/{run['thread_id']}"
    stored = await client.get(f"{path}/messages/{message['id']}")
    assert stored == {key: value for key, value in message.items() if key in stored}
    assert {**await client.get(f"{path}/runs/{run['id']}"), "tool_resources": None} == {**run, "tool_resources": None}


async def test_thread_and_run(client: Client, model: ScriptedServer) -> None:
    assistant = await assistant_with(client)
    body = {"assistant_id": assistant["id"], "thread": {"messages": [{"role": "user", "content": "Hi"}]}}
    frames = await client.frames("/threads/runs", {**body, "stream": True})
    assert names(frames)[:4] == ["thread.created", *BEGIN]
    assert names(frames)[-2:] == ["thread.run.completed", "done"]


async def test_functions_then_outputs(client: Client, model: ScriptedServer) -> None:
    model.script(calls(("weather", {"city": "Rome"}), ("weather", {})), says("Sunny"))
    frames = await streamed(client, tools=[WEATHER])
    assert names(frames) == [*BEGIN, *OPEN_TOOLS, "thread.run.requires_action", *DONE]
    run = last(frames, "thread.run.requires_action")
    wanted = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    outputs = [{"tool_call_id": call["id"], "output": "sun"} for call in wanted]
    path = f"/threads/{run['thread_id']}/runs/{run['id']}/submit_tool_outputs"
    second = await client.frames(path, {"tool_outputs": outputs, "stream": True})
    assert names(second) == [
        "thread.run.step.completed",
        "thread.run.queued",
        "thread.run.in_progress",
        *OPEN_MESSAGE,
        "thread.message.delta",
        "thread.message.completed",
        "thread.run.step.completed",
        "thread.run.completed",
        *DONE,
    ]
    step = second[0].data
    assert [call["function"]["output"] for call in step["step_details"]["tool_calls"]] == ["sun", "sun"]
    assert step["usage"]["total_tokens"] > 0


async def test_text_and_functions_in_one_reply(client: Client, model: ScriptedServer) -> None:
    model.script(calls(("weather", {}), text="Let me look."))
    frames = await streamed(client, tools=[WEATHER])
    assert names(frames) == [
        *BEGIN,
        *OPEN_MESSAGE,
        "thread.message.delta",
        "thread.message.completed",
        "thread.run.step.completed",
        *OPEN_TOOLS,
        "thread.run.requires_action",
        *DONE,
    ]


@pytest.mark.slow
async def test_cancelled(client: Client, model: ScriptedServer) -> None:
    model.script(says("one two three four", pieces=4).waits("middle", before=3))
    assistant, thread = await assistant_with(client), await thread_with(client, "Hi")
    path = f"/threads/{thread['id']}/runs"
    frames: list[Frame] = []
    async for frame in client.stream(path, {"assistant_id": assistant["id"], "stream": True}):
        frames.append(frame)
        if frame.event == "thread.message.created":
            await client.post(f"{path}/{frame.data['run_id']}/cancel")
    assert names(frames) == [
        *BEGIN,
        *OPEN_MESSAGE,
        "thread.message.delta",
        "thread.run.cancelling",
        "thread.message.incomplete",
        "thread.run.step.cancelled",
        "thread.run.cancelled",
        *DONE,
    ]
    message = last(frames, "thread.message.incomplete")
    assert message["incomplete_details"] == {"reason": "run_cancelled"}
    assert message["content"][0]["text"]["value"] == text_of(frames)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reply", "end"),
    [
        (cuts_off("Half"), ["thread.message.incomplete", "thread.run.step.completed", "thread.run.incomplete"]),
        (hits_filter("Half"), ["thread.message.incomplete", "thread.run.step.completed", "thread.run.incomplete"]),
        (refuses("I will not."), ["thread.message.completed", "thread.run.step.completed", "thread.run.completed"]),
    ],
)
async def test_other_ends(client: Client, model: ScriptedServer, reply: Any, end: list[str]) -> None:
    model.script(reply)
    frames = await streamed(client)
    assert names(frames) == [*BEGIN, *OPEN_MESSAGE, "thread.message.delta", *end, *DONE]


async def test_failed_before_a_word(client: Client, model: ScriptedServer) -> None:
    model.script(errors(400))
    assert names(await streamed(client)) == [*BEGIN, "thread.run.failed", *DONE]


@pytest.mark.slow
async def test_broken_then_whole(client: Client, model: ScriptedServer) -> None:
    model.script(says("half of", pieces=2).breaks_after(3), says("Whole"))
    frames = await streamed(client)
    assert names(frames) == [
        *BEGIN,
        *OPEN_MESSAGE,
        "thread.message.delta",
        "thread.message.incomplete",
        "thread.run.step.failed",
        *OPEN_MESSAGE,
        "thread.message.delta",
        "thread.message.completed",
        "thread.run.step.completed",
        "thread.run.completed",
        *DONE,
    ]
    created = [frame.data["id"] for frame in frames if frame.event == "thread.message.created"]
    assert len(set(created)) == 2


@pytest.mark.slow
@pytest.mark.usefixtures("frequent_scans")
async def test_expired(client: Client, model: ScriptedServer, wall: WallClock) -> None:
    model.script(hangs(after=3, text="one two three"))
    assistant, thread = await assistant_with(client), await thread_with(client, "Hi")
    asked = {"assistant_id": assistant["id"], "stream": True}
    frames: list[Frame] = []
    async for frame in client.stream(f"/threads/{thread['id']}/runs", asked):
        frames.append(frame)
        if frame.event == "thread.message.delta":
            wall.skip(600)
    assert names(frames) == [
        *BEGIN,
        *OPEN_MESSAGE,
        "thread.message.delta",
        "thread.message.incomplete",
        "thread.run.step.expired",
        "thread.run.expired",
        *DONE,
    ]


async def test_deleted_in_mid_run(client: Client, model: ScriptedServer) -> None:
    model.script(hangs(after=3))
    assistant, thread = await assistant_with(client), await thread_with(client, "Hi")
    frames: list[Frame] = []
    path = f"/threads/{thread['id']}/runs"
    async for frame in client.stream(path, {"assistant_id": assistant["id"], "stream": True}):
        frames.append(frame)
        if frame.event == "thread.message.created":
            await client.delete(f"/threads/{thread['id']}")
    assert names(frames)[-2:] == ["thread.run.cancelled", "done"]


async def test_a_client_that_leaves_changes_nothing(client: Client, model: ScriptedServer) -> None:
    model.script(says("one two three", pieces=3).waits("middle", before=2))
    assistant, thread = await assistant_with(client), await thread_with(client, "Hi")
    path = f"/threads/{thread['id']}/runs"
    stream = client.stream(path, {"assistant_id": assistant["id"], "stream": True})
    first = await anext(stream)
    await model.wait_for_gate("middle")
    await stream.aclose()  # type: ignore[attr-defined]
    model.open_gate("middle")
    assert (await client.settled(first.data))["status"] == "completed"


@pytest.mark.slow
async def test_a_client_that_leaves_cancels_its_run_if_it_said_so(client: Client, model: ScriptedServer) -> None:
    model.script(says("one two three", pieces=3).waits("middle", before=2))
    assistant, thread = await assistant_with(client), await thread_with(client, "Hi")
    path, asked = f"/threads/{thread['id']}/runs", {"assistant_id": assistant["id"], "stream": True}
    client.headers["Everthread-On-Disconnect"] = "cancel"
    stream = client.stream(path, asked)
    first = await anext(stream)
    await model.wait_for_gate("middle")
    await stream.aclose()  # type: ignore[attr-defined]
    assert (await client.settled(first.data))["status"] == "cancelled"
    client.headers["Everthread-On-Disconnect"] = "end"
    assert (await client.call("POST", path, asked)).status == 400


async def test_shown_ids_are_never_404(client: Client, model: ScriptedServer) -> None:
    """A frame names the step and the message before they are in the log; reading them by id works at once."""
    model.script(says("one two three", pieces=3).waits("middle", before=2))
    assistant, thread = await assistant_with(client), await thread_with(client, "Hi")
    path = f"/threads/{thread['id']}"
    async for frame in client.stream(f"{path}/runs", {"assistant_id": assistant["id"], "stream": True}):
        if frame.event == "thread.run.step.created":
            step = await client.get(f"{path}/runs/{frame.data['run_id']}/steps/{frame.data['id']}")
            assert (step["status"], step["created_at"]) == ("in_progress", frame.data["created_at"])
        if frame.event == "thread.message.created":
            message = await client.get(f"{path}/messages/{frame.data['id']}")
            assert (message["content"], message["created_at"]) == ([], frame.data["created_at"])
            model.open_gate("middle")


@pytest.mark.slow
async def test_many_watchers_at_once(client: Client, model: ScriptedServer) -> None:
    model.default = says("a b c d e f g h", pieces=8)
    found = await asyncio.gather(*(streamed(client) for _ in range(20)))
    assert {text_of(frames) for frames in found} == {"a b c d e f g h"}


async def test_a_watched_run_takes_one_place(start_server: Any, model: ScriptedServer) -> None:
    """With two places for runs, a second run starts while the first one is watched."""
    model.script(says("one").waits("first"), says("two").waits("second"))
    async with start_server(max_runs=2) as client:
        watched = asyncio.create_task(streamed(client))
        await model.wait_for_gate("first")
        other = asyncio.create_task(streamed(client))
        await model.wait_for_gate("second")
        model.open_gate("first")
        model.open_gate("second")
        assert [text_of(frames) for frames in await asyncio.gather(watched, other)] == ["one", "two"]


async def test_v1_knows_no_incomplete(start_server: Any, model: ScriptedServer) -> None:
    model.script(cuts_off("Half"))
    async with start_server() as client:
        client.headers["OpenAI-Beta"] = V1
        frames = await streamed(client)
        assert names(frames)[-2:] == ["thread.run.completed", "done"]


async def test_a_stream_outlives_a_database_that_goes_away(
    client: Client, model: ScriptedServer, database_url: str
) -> None:
    """Every connection is cut in the middle of an answer. The run continues, and so does the stream that shows it."""
    model.script(says("one two three", pieces=3).waits("middle", before=2))
    assistant, thread = await assistant_with(client), await thread_with(client, "Hi")
    frames: list[Frame] = []
    body = {"assistant_id": assistant["id"], "stream": True}
    async for frame in client.stream(f"/threads/{thread['id']}/runs", body):
        frames.append(frame)
        if frame.event == "thread.message.in_progress":
            await model.wait_for_gate("middle")
            await _cut_all(database_url)
            model.open_gate("middle")
    assert names(frames)[-2:] == ["thread.run.completed", "done"]
    assert text_of(frames) == "one two three"


async def _cut_all(database_url: str) -> None:
    admin = await connect(database_url)
    others = "datname = current_database() AND pid <> pg_backend_pid()"
    await admin.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")
    await admin.close()
